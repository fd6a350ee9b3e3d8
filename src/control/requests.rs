//! Answers about who may write to me, strangers who ask to, and who is told what I have read.

use super::{
    answer::{Answer, Stop, ask, plain, resolve, unexpected},
    call::{Allow, Receipts, Requests, RequestsAction},
    contacts,
    proto::{ErrorLine, Line, RequestLine},
    server::{Node, Out, Owner},
};
use crate::{
    id::{PEER_ID_SHORT_LEN, PeerId},
    node::command::{Command, Edit, Reply, RequestView},
    text::name_key,
};

/// `requests`.
pub(super) async fn requests<N: Node>(owner: &Owner<N>, call: Requests, out: &Out) -> Answer {
    let Requests { action, peer } = call;
    let views = match ask(owner, Command::Requests).await? {
        Reply::Requests(views) => views,
        reply => return Err(unexpected(&reply)),
    };
    let edit = match action {
        RequestsAction::List if peer.is_some() => {
            return Err(ErrorLine::new("bad-request", 2, "requests: list takes no peer").into());
        }
        RequestsAction::List => {
            for view in views {
                out.say(Line::Request(RequestLine::from(view))).await?;
            }
            return Ok(());
        }
        RequestsAction::Accept => Edit::Accept,
        RequestsAction::Refuse => Edit::Refuse,
    };
    let Some(peer) = peer else { return Err(ErrorLine::new("bad-request", 2, "requests: a peer is needed").into()) };
    let id = match among(&views, &peer)? {
        Some(id) => id,
        None => resolve(owner, peer, None, out).await?,
    };
    plain(owner, Command::EditContact { peer: id, edit }).await?;
    Ok(out.say(Line::Contact(contacts::one(owner, id).await?)).await?)
}

/// Who of those that ask is called so, or has an id that begins so: they may be nowhere else to be found.
fn among(views: &[RequestView], peer: &str) -> Result<Option<PeerId>, Stop> {
    let peer = peer.trim();
    let is_meant = |view: &&RequestView| {
        name_key(&view.name) == name_key(peer) || (peer.len() >= PEER_ID_SHORT_LEN && view.peer.to_string().starts_with(peer))
    };
    let meant: Vec<_> = views.iter().filter(is_meant).collect();
    match meant.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.peer)),
        many => {
            let ids: Vec<_> = many.iter().map(|view| view.peer.to_string()).collect();
            let error = ErrorLine::new("ambiguous-peer", 4, format!("ambiguous peer: {peer}"));
            Err(error.hint(format!("write the id of one of them: {}", ids.join(", "))).into())
        }
    }
}

/// `allow`.
pub(super) async fn allow<N: Node>(owner: &Owner<N>, call: Allow) -> Answer {
    plain(owner, Command::SetAllow(call.to)).await?;
    owner.node.keep("allow", call.to.word());
    Ok(())
}

/// `receipts`.
pub(super) async fn receipts<N: Node>(owner: &Owner<N>, call: Receipts) -> Answer {
    plain(owner, Command::SetReadReceipts(call.on)).await?;
    owner.node.keep("read_receipts", if call.on { "true" } else { "false" });
    Ok(())
}
