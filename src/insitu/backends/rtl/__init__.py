"""The learning engine as hardware: its RTL in Amaranth, simulation, synthesis, and projects for boards."""
