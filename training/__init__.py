"""Makes the shipped artifact: Debye simulations, training, calibration, evaluation."""
