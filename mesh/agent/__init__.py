"""The node's agent: joins, applies what the operator signed, checks services, announces."""
