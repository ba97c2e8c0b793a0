//! How often one person, and everybody at one address, may ask for what is dear.
//!
//! Both count, since many people may share an address and one person may have many. Whoever is over a rate is
//! told when to come back. The tables are bounded: who was quiet the longest is forgotten, with a full rate.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use ensemble_protocol::id::{MemberId, TokenId};
use ensemble_protocol::limits::{self, Rate};
use ensemble_sync::rate::Bucket;
use http::HeaderMap;
use http::request::Parts;
use parking_lot::Mutex;

use crate::config::{FlowRates, PerCaller, RequestRates, SocketRates};
use crate::error::ApiError;
use crate::state::AppState;

/// Bits of an IPv6 address that one customer shares.
const IPV6_PREFIX: u32 = 64;
/// The header to which proxies add whom they speak for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request comes from, as far as it is known: an IPv4 address, or the network of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl Address {
    pub(crate) fn new(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// The address of whoever is behind so many proxies. What they claim themselves stands further left.
    fn behind(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> Self {
        let Some(back) = proxies.checked_sub(1) else { return Self::new(peer) };
        let hops = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).map(str::trim).collect();
        let claimed = hops.iter().rev().nth(back).and_then(|text| text.parse().ok());
        Self::new(claimed.unwrap_or(peer))
    }
}

impl FromRequestParts<AppState> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let ConnectInfo(peer) =
            ConnectInfo::<SocketAddr>::from_request_parts(parts, state).await.map_err(ApiError::internal)?;
        Ok(Self::behind(peer.ip(), &parts.headers, state.rates.proxies))
    }
}

/// What all sockets of one person or of one address have left together.
#[derive(Debug)]
pub(crate) struct Flow {
    frames: Bucket,
    bytes: Bucket,
}

impl Flow {
    /// Counts messages and bytes, and says how long it takes to make up for what is too much.
    pub(crate) fn charge(&mut self, frames: f64, bytes: f64) -> Duration {
        self.frames.charge(frames).max(self.bytes.charge(bytes))
    }
}

/// The flows of many, for as long as they have sockets.
#[derive(Debug)]
struct Flows<K> {
    rates: FlowRates,
    open: Mutex<HashMap<K, Weak<Mutex<Flow>>>>,
}

impl<K: Eq + Hash> Flows<K> {
    fn new(rates: FlowRates) -> Self {
        Self { rates, open: Mutex::default() }
    }

    fn of(&self, key: K) -> Arc<Mutex<Flow>> {
        let mut open = self.open.lock();
        if let Some(flow) = open.get(&key).and_then(Weak::upgrade) {
            return flow;
        }
        // Now and then, so that those who went are forgotten and nobody waits for it often.
        if open.len() == open.capacity() {
            open.retain(|_, flow| flow.strong_count() > 0);
        }
        let flow = Flow { frames: Bucket::new(self.rates.frames), bytes: Bucket::new(self.rates.bytes) };
        let flow = Arc::new(Mutex::new(flow));
        open.insert(key, Arc::downgrade(&flow));
        flow
    }
}

/// What each of many has left.
#[derive(Debug)]
struct Table<K> {
    rate: Rate,
    most: usize,
    /// Those seen since the last time there were too many, and those seen before that.
    buckets: Mutex<[HashMap<K, Bucket>; 2]>,
}

impl<K: Eq + Hash> Table<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, most: limits::RATE_KEYS, buckets: Mutex::default() }
    }

    /// Takes one; otherwise says how long until there is one.
    fn take(&self, key: K) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        let [recent, old] = &mut *buckets;
        if !recent.contains_key(&key) && recent.len() >= self.most {
            *old = std::mem::take(recent);
        }
        let known = old.remove(&key);
        let bucket = recent.entry(key).or_insert_with(|| known.unwrap_or_else(|| Bucket::new(self.rate)));
        if bucket.take(1.0) { Ok(()) } else { Err(bucket.until(1.0)) }
    }
}

/// One kind of request.
#[derive(Debug)]
pub(crate) struct Requests {
    addresses: Table<Address>,
    people: Table<MemberId>,
}

impl Requests {
    fn new(rates: PerCaller) -> Self {
        Self { addresses: Table::new(rates.address), people: Table::new(rates.person) }
    }

    /// Counts a request from an address, by somebody where they are known.
    pub(crate) fn check(&self, address: Address, person: Option<MemberId>) -> Result<(), ApiError> {
        let person = person.map_or(Ok(()), |person| self.people.take(person));
        person.and_then(|()| self.addresses.take(address)).map_err(ApiError::too_often)
    }
}

/// The rates of everybody.
#[derive(Debug, Clone)]
pub struct Rates {
    pub(crate) kinds: Arc<Kinds>,
    proxies: usize,
}

#[derive(Debug)]
pub(crate) struct Kinds {
    /// Joining by a link.
    pub(crate) joins: Requests,
    /// Making projects.
    pub(crate) projects: Requests,
    /// Tickets for sockets.
    pub(crate) tickets: Requests,
    turns: Table<MemberId>,
    edits: Table<MemberId>,
    edits_of_tokens: Table<TokenId>,
    /// Anything at all.
    all: Requests,
    addresses: Flows<Address>,
    people: Flows<MemberId>,
}

impl Rates {
    /// Nobody has asked for anything yet.
    pub fn new(rates: &RequestRates, sockets: &SocketRates) -> Self {
        let kinds = Kinds {
            joins: Requests::new(rates.joins),
            projects: Requests::new(rates.projects),
            tickets: Requests::new(rates.tickets),
            turns: Table::new(rates.turns_per_person),
            edits: Table::new(rates.edits_per_person),
            edits_of_tokens: Table::new(rates.edits_per_token),
            all: Requests::new(rates.all),
            addresses: Flows::new(sockets.address),
            people: Flows::new(sockets.person),
        };
        Self { kinds: Arc::new(kinds), proxies: rates.proxies }
    }

    /// Whether proxies stand in front of the server, so that connections come from them.
    pub(crate) const fn is_proxied(&self) -> bool {
        self.proxies > 0
    }

    /// Counts a request from an address, whatever it asks for.
    pub(crate) fn check_address(&self, address: Address) -> Result<(), ApiError> {
        self.kinds.all.addresses.take(address).map_err(ApiError::too_often)
    }

    /// Counts a request of somebody, whatever they ask for.
    pub(crate) fn check_person(&self, person: MemberId) -> Result<(), ApiError> {
        self.kinds.all.people.take(person).map_err(ApiError::too_often)
    }

    /// What all sockets of an address have left.
    pub(crate) fn flow_of_address(&self, address: Address) -> Arc<Mutex<Flow>> {
        self.kinds.addresses.of(address)
    }

    /// What all sockets of a person have left.
    pub(crate) fn flow_of_person(&self, person: MemberId) -> Arc<Mutex<Flow>> {
        self.kinds.people.of(person)
    }

    /// Counts a turn somebody starts, whichever way.
    pub(crate) fn check_turn(&self, person: MemberId) -> Result<(), ApiError> {
        self.kinds.turns.take(person).map_err(ApiError::too_often)
    }

    /// Counts edits over HTTP, of a person and of the token they come with.
    pub(crate) fn check_edit(&self, person: MemberId, token: Option<TokenId>) -> Result<(), ApiError> {
        let token = token.map_or(Ok(()), |token| self.kinds.edits_of_tokens.take(token));
        token.and_then(|()| self.kinds.edits.take(person)).map_err(ApiError::too_often)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_claims_about_itself_is_not_believed() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, "1.1.1.1, 2.2.2.2".parse().unwrap());
        headers.append(FORWARDED_FOR, "3.3.3.3".parse().unwrap());
        let at = |proxies| Address::behind(peer, &headers, proxies).0.to_string();
        assert_eq!(at(0), "10.0.0.1");
        assert_eq!(at(1), "3.3.3.3");
        assert_eq!(at(2), "2.2.2.2");
        assert_eq!(at(9), "10.0.0.1");
    }

    #[test]
    fn a_network_is_one_address() {
        let read = |text: &str| Address::new(text.parse().unwrap());
        assert_eq!(read("2001:db8::1"), read("2001:db8::ffff:1"));
        assert_ne!(read("2001:db8::1"), read("2001:db8:0:1::1"));
        assert_eq!(read("::ffff:1.2.3.4"), read("1.2.3.4"));
    }

    #[test]
    fn flows_are_shared_while_they_are_used_and_then_forgotten() {
        let rate = Rate { per_second: 1.0, burst: 10.0 };
        let flows = Flows::new(FlowRates { frames: rate, bytes: rate });
        let (one, same) = (flows.of(0), flows.of(0));
        assert_eq!(one.lock().charge(10.0, 0.0), Duration::ZERO);
        assert!(same.lock().charge(5.0, 0.0) > Duration::from_secs(4));
        for key in 1..10_000 {
            assert_eq!(flows.of(key).lock().charge(1.0, 10.0), Duration::ZERO);
            assert!(flows.open.lock().len() < 100, "{key}");
        }
        assert!(flows.of(0).lock().charge(0.0, 0.0) > Duration::from_secs(1), "who is there is remembered");
    }

    #[test]
    fn a_table_is_bounded_and_remembers_the_recent() {
        let mut table = Table::new(Rate { per_second: 0.001, burst: 1.0 });
        table.most = 10;
        for key in 0..1000 {
            assert!(table.take(key).is_ok());
            assert!(table.take(key).is_err());
            assert!(table.buckets.lock().iter().map(HashMap::len).sum::<usize>() <= 20);
        }
        assert!(table.take(999).is_err() && table.take(995).is_err());
    }
}
