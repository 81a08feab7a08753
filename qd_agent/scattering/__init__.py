"""The forward model, once: from an ensemble of PbS clusters to I(Q). Pure numpy."""
