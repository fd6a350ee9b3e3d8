//! Answers about what I say of peers: who is a contact, what I call it, whether its key is its own, whom I block.

use super::{
    answer::{Answer, Stop, link, peers, plain, resolve},
    call::{Contact, ContactAction, Told},
    phonebook::name,
    proto::{ContactLine, ErrorLine, Line, Time},
    server::{Node, Out, Owner, now},
};
use crate::{
    contact_link::ContactLink,
    id::PeerId,
    node::command::{Command, Edit},
    store::row::{Contact as Row, Trust},
    text::name_key,
    words::words,
};

/// `contact`.
pub(super) async fn contact<N: Node>(owner: &Owner<N>, call: Contact, out: &Out) -> Answer {
    let Contact { action, peer, petname, yes, told } = call;
    let takes_petname = matches!(action, ContactAction::Add | ContactAction::Rename);
    let is_told = told.is_some() == (action == ContactAction::Receipts);
    if petname.is_some() && !takes_petname || yes && action != ContactAction::Verify || !is_told {
        let text = "contact: a petname is for add and rename, yes for verify, and told belongs to receipts";
        return Err(ErrorLine::new("bad-request", 2, text).into());
    }
    let petname = petname.map(|petname| name(&petname)).transpose()?.map(|name| name.as_str().to_owned());
    let edit = match action {
        ContactAction::List if peer.is_none() => return list(owner, out).await,
        ContactAction::List => return Err(ErrorLine::new("bad-request", 2, "contact: list takes no peer").into()),
        ContactAction::Add => None,
        ContactAction::Rename => Some(Edit::Petname(petname.clone())),
        ContactAction::Verify => yes.then_some(Edit::Verify),
        ContactAction::Receipts => Some(Edit::Receipts(told.and_then(Told::receipts))),
        ContactAction::Block => Some(Edit::Block),
        ContactAction::Unblock => Some(Edit::Unblock),
        ContactAction::Remove => Some(Edit::Remove),
    };
    let Some(peer) = peer else { return Err(ErrorLine::new("bad-request", 2, "contact: a peer is needed").into()) };
    let id = if action == ContactAction::Add {
        let ContactLink { id, name, via } = link(&peer)?;
        let name = name.map(|name| name.as_str().to_owned());
        plain(owner, Command::AddContact { peer: id, petname, name, seeds: via }).await?;
        id
    } else {
        resolve(owner, peer, None, out).await?
    };
    if id == owner.id {
        return Err(ErrorLine::new("myself", 2, "that is you").into());
    }
    if let Some(edit) = edit {
        plain(owner, Command::EditContact { peer: id, edit }).await?;
    }
    let mut line = one(owner, id).await?;
    line.words = (action == ContactAction::Verify).then(|| words(&owner.id, &id).map(str::to_owned).to_vec());
    Ok(out.say(Line::Contact(line)).await?)
}

/// Everybody that I added or wrote to, and whom I block, by name.
async fn list<N: Node>(owner: &Owner<N>, out: &Out) -> Answer {
    let wanted = rows(owner)?.into_iter().filter(|row| row.added || row.trust == Trust::Blocked);
    let mut lines: Vec<ContactLine> = wanted.map(ContactLine::from).collect();
    lines.sort_by_cached_key(|line| (name_key(line.label()), line.id));
    for line in lines {
        out.say(Line::Contact(line)).await?;
    }
    Ok(())
}

/// One of them; also somebody who has only been heard so far.
pub(super) async fn one<N: Node>(owner: &Owner<N>, id: PeerId) -> Result<ContactLine, Stop> {
    if let Some(row) = rows(owner)?.into_iter().find(|row| row.id == id) {
        return Ok(row.into());
    }
    let heard = peers(owner, false).await?.into_iter().find(|peer| peer.id == id);
    let (name, trust) = heard.map_or_else(|| (id.short(), Trust::Unknown), |peer| (peer.name, peer.trust));
    Ok(ContactLine { id, petname: None, name, trust, since: Time(now()), receipts: Told::Default, words: None })
}

fn rows<N: Node>(owner: &Owner<N>) -> Result<Vec<Row>, Stop> {
    let rows = owner.node.reader().contacts()?;
    for damaged in &rows.damaged {
        tracing::warn!(%damaged, "left out of the contacts");
    }
    Ok(rows.rows)
}
