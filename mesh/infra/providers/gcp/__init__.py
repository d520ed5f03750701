"""GCP: members in one network, each region with a Cloud Router."""
