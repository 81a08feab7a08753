"""A beamline without X-rays: a real RunEngine, simulated devices and a known truth."""
