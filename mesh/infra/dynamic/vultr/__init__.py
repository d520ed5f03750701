"""Resources of our own on Vultr's v2 API. As in ``mesh/infra/dynamic``, no name here may change."""
