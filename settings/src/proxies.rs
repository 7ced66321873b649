//! Proxies that are believed when they say whom a request is from.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An address or a network, like `10.0.0.1` or `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyNetwork(IpNet);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither an address like \"10.0.0.1\" nor a network like \"10.0.0.0/8\"")]
pub struct NotANetwork(String);

impl ProxyNetwork {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for ProxyNetwork {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let text = text.trim();
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(|_| address());
        network.map(Self).map_err(|_| NotANetwork(text.to_owned()))
    }
}

impl TryFrom<String> for ProxyNetwork {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<ProxyNetwork> for String {
    fn from(network: ProxyNetwork) -> Self {
        network.0.to_string()
    }
}

pub(super) fn networks(text: &str) -> Result<Vec<ProxyNetwork>, NotANetwork> {
    text.split(',').map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read_and_others_refused() {
        let network = |text: &str| text.parse::<ProxyNetwork>().map(String::from);
        assert_eq!(network("10.0.0.1").unwrap(), "10.0.0.1/32");
        assert_eq!(network("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        assert_eq!(network("2001:db8::/32").unwrap(), "2001:db8::/32");
        for wrong in ["", "proxy", "10.0.0.0/33", "10.0.0.1:80"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
        assert_eq!(networks("10.0.0.1, 10.0.0.2").unwrap().len(), 2);
    }
}
