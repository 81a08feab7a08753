"""`python -m simulated_beamline` is `qd-beamline`."""

from simulated_beamline.cli import main

if __name__ == "__main__":
    main()
