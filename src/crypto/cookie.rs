//! Cookies: a stateless proof that whoever sends from an address also receives there (protocol, SEEDS). What
//! an address is made of is the caller's affair; here it is bytes.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;

use super::rotating::RotatingKey;
use crate::wire::phonebook::COOKIE_LEN;

/// Seconds for which a cookie is good.
pub const COOKIE_LIFETIME: u32 = 120;
/// Seconds for which one key makes cookies.
const KEY_SECONDS: u32 = 3_600;
const TIME_LEN: usize = 4;
const MAC_LEN: usize = COOKIE_LEN - TIME_LEN;

/// Makes and checks cookies: 4 bytes of time and 12 of a keyed SipHash-2-4-128. All threads of a seed share
/// the secret; a restart makes another, and costs everybody one round trip.
pub struct Cookies(RotatingKey);

impl Cookies {
    /// From a random secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(RotatingKey::new(secret, b"cookie"))
    }

    /// The cookie of `address` at `now`, in seconds since some start.
    pub fn make(&mut self, now: u32, address: &[u8]) -> [u8; COOKIE_LEN] {
        let mut cookie = [0; COOKIE_LEN];
        let (time, mac) = cookie.split_at_mut(TIME_LEN);
        time.copy_from_slice(&now.to_le_bytes());
        mac.copy_from_slice(&self.mac(now, address));
        cookie
    }

    /// True where [`make`](Self::make) made it for this address not longer than [`COOKIE_LIFETIME`] ago.
    pub fn verify(&mut self, now: u32, address: &[u8], cookie: &[u8; COOKIE_LEN]) -> bool {
        let Some((time, mac)) = cookie.split_first_chunk::<TIME_LEN>() else { return false };
        let time = u32::from_le_bytes(*time);
        let is_fresh = now.checked_sub(time).is_some_and(|age| age <= COOKIE_LIFETIME);
        is_fresh && self.mac(time, address).ct_eq(mac).into()
    }

    fn mac(&mut self, time: u32, address: &[u8]) -> [u8; MAC_LEN] {
        let mut hasher = SipHasher24::new_with_key(self.0.key((time / KEY_SECONDS).into()));
        hasher.write(&time.to_le_bytes());
        hasher.write(address);
        let hash = hasher.finish128().as_bytes();
        hash.first_chunk().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_of_one_address_and_two_minutes() {
        let mut cookies = Cookies::new(&[7; 32]);
        for made in [0, 59, KEY_SECONDS - 1, KEY_SECONDS, 10 * KEY_SECONDS + 5] {
            let cookie = cookies.make(made, b"here");
            assert!(cookies.verify(made, b"here", &cookie) && cookies.verify(made + COOKIE_LIFETIME, b"here", &cookie));
            assert!(!cookies.verify(made + COOKIE_LIFETIME + 1, b"here", &cookie), "too old");
            assert!(!cookies.verify(made, b"there", &cookie), "another address");
            assert!(made == 0 || !cookies.verify(made - 1, b"here", &cookie), "from the future");
            assert!(!Cookies::new(&[8; 32]).verify(made, b"here", &cookie), "another seed");
            for place in 0..COOKIE_LEN {
                let mut flipped = cookie;
                flipped[place] ^= 1;
                assert!(!cookies.verify(made + 1, b"here", &flipped), "byte {place}");
            }
        }
        assert!(!cookies.verify(5, b"here", &[0; COOKIE_LEN]), "none");
    }
}
