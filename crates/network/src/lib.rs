//! Packets: bridges, addresses, published ports and DNS, through netlink.
