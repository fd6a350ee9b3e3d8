//! Answers to `away` and `back`: whether somebody sits before this profile. What people say of themselves goes before what
//! their windows guess.

use super::{
    answer::{Answer, plain},
    call::{Away, Back},
    proto::ErrorLine,
    server::{Node, Owner},
};
use crate::{node::command::Command, wire::message::STATUS_LEN_MAX};

/// Who sits before it, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keyboard {
    /// Somebody.
    #[default]
    Here,
    /// Nobody has typed anything for a while.
    Idle,
    /// Nobody: he said so.
    Away,
}

/// `away`.
pub(super) async fn away<N: Node>(owner: &Owner<N>, call: Away) -> Answer {
    if call.text.len() > STATUS_LEN_MAX {
        let text = format!("a word about being away has at most {STATUS_LEN_MAX} bytes");
        return Err(ErrorLine::new("bad-text", 2, text).into());
    }
    let is_so = owner.sit(|was| match (was, call.idle) {
        (Keyboard::Away, true) => None,
        (_, true) => Some(Keyboard::Idle),
        (_, false) => Some(Keyboard::Away),
    });
    if is_so { plain(owner, Command::SetAway(Some(call.text))).await } else { Ok(()) }
}

/// `back`.
pub(super) async fn back<N: Node>(owner: &Owner<N>, call: Back) -> Answer {
    let is_so = owner.sit(|was| (was == Keyboard::Idle || !call.idle).then_some(Keyboard::Here));
    if is_so { plain(owner, Command::SetAway(None)).await } else { Ok(()) }
}
