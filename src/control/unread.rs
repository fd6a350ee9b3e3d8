//! Answers about what I have not read, and that I have.

use super::{
    answer::{Answer, Labels, plain, resolve},
    call::{MarkRead, Unread},
    proto::{Line, UnreadLine},
    server::{Node, Out, Owner},
};
use crate::{id::PeerId, node::command::Command, store::HistoryQuery, text::name_key};

/// `unread`.
pub(super) async fn unread<N: Node>(owner: &Owner<N>, call: Unread, out: &Out) -> Answer {
    let counts = owner.node.reader().unread()?;
    if call.total {
        let total = counts.values().sum();
        return Ok(out.say(Line::Unread(UnreadLine { peer: None, name: None, count: None, total: Some(total) })).await?);
    }
    let labels = Labels::read(owner).await?;
    let mut rows: Vec<(String, PeerId, u64)> = counts.into_iter().map(|(peer, count)| (labels.of(&peer), peer, count)).collect();
    rows.sort_by_cached_key(|(name, peer, _)| (name_key(name), *peer));
    for (name, peer, count) in rows {
        let line = UnreadLine { peer: Some(peer), name: Some(name), count: Some(count), total: None };
        out.say(Line::Unread(line)).await?;
    }
    Ok(())
}

/// `mark-read`.
pub(super) async fn mark_read<N: Node>(owner: &Owner<N>, call: MarkRead, out: &Out) -> Answer {
    let peer = resolve(owner, call.peer, None, out).await?;
    let id = match call.id {
        Some(id) => Some(id),
        // Up to the newest line, whoever wrote it.
        None => {
            let query = HistoryQuery { peer: Some(peer), limit: 1, ..HistoryQuery::default() };
            owner.node.reader().history(&query)?.rows.pop().map(|(_, row)| row.id)
        }
    };
    if let Some(id) = id {
        plain(owner, Command::MarkRead(peer, id)).await?;
        // Of a stranger only so much may lie here that nobody has seen.
        plain(owner, Command::Shown(vec![peer])).await?;
    }
    Ok(())
}
