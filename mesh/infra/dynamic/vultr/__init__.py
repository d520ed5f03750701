"""Resources of our own on Vultr's v2 API. What ``mesh/infra/dynamic`` says of names holds here."""
