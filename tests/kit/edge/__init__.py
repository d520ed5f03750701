"""An edge for tests: its BIRD alone behind an uplink, or whole with agent, peer and upstreams."""
