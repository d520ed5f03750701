"""What OpenBSD's pf does with packets by the rules that we write, beside the kernel's nftables."""
