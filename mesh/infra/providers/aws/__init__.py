"""AWS: members, each region with a VPC of its own and a Route Server in it."""
