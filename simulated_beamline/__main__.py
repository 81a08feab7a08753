"""`python -m simulated_beamline` is `qd-beamline`."""

from simulated_beamline.cli import main

main()
