//! What I say of peers: who is a contact, what I call it, whose key I have compared, whom I block. How little somebody
//! whom I block may cost stands in `admission`.

use super::{
    Node,
    command::{Command, CommandError, CommandId, Edit, Reply},
    delivery::Claim,
    event::Event,
    peer::Link,
};
use crate::{
    clock::Now,
    id::PeerId,
    store::row::{Op, Trust},
};

impl Node {
    pub(crate) fn on_contact_command(&mut self, now: Now, command: CommandId, what: Command) {
        let (Command::AddContact { peer: id, .. } | Command::EditContact { peer: id, .. }) = what else { return };
        if id == self.id() {
            return self.fail(command, CommandError::Myself);
        }
        let done = match what {
            Command::EditContact { edit, .. } => self.edit_contact(now, id, edit),
            Command::AddContact { petname, name, seeds, .. } => {
                self.add_contact(now, id, petname, name, seeds);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            return self.fail(command, error);
        }
        if let Some(contact) = self.peers.get(&id).map(|peer| peer.contact.clone()) {
            self.batches.push(Op::Contact(contact));
        }
        self.batches.gate(Claim::Reply(command, Reply::Done));
        self.touch(id);
    }

    fn add_contact(&mut self, now: Now, id: PeerId, petname: Option<String>, name: Option<String>, seeds: Vec<String>) {
        self.befriend(now, id);
        let contact = &mut self.peer_mut(id, now).contact;
        if petname.is_some() {
            contact.petname = petname;
        }
        if let Some(name) = name.filter(|_| contact.name.is_empty()) {
            contact.name = name;
        }
        if !seeds.is_empty() {
            contact.seeds = seeds;
        }
    }

    fn edit_contact(&mut self, now: Now, id: PeerId, edit: Edit) -> Result<(), CommandError> {
        let known = self.peers.get(&id).map(|peer| &peer.contact);
        if matches!(edit, Edit::Petname(_) | Edit::Receipts(_) | Edit::Remove) && !known.is_some_and(|contact| contact.added) {
            return Err(CommandError::NoContact);
        }
        if matches!(edit, Edit::Accept | Edit::Refuse) && known.is_none_or(|contact| contact.request.is_none()) {
            return Err(CommandError::NoRequest);
        }
        if matches!(edit, Edit::Verify | Edit::Accept) && !known.is_some_and(|contact| contact.trust == Trust::Blocked) {
            self.befriend(now, id);
        }
        let peer = self.peer_mut(id, now);
        if edit == Edit::Verify && peer.is_blocked() {
            return Err(CommandError::Blocked);
        }
        peer.stored = true;
        let contact = &mut peer.contact;
        let pinned = if contact.last_heard.is_some() { Trust::Seen } else { Trust::Unknown };
        match edit {
            Edit::Petname(petname) => contact.petname = petname,
            Edit::Verify => contact.trust = Trust::Verified,
            Edit::Receipts(on) => contact.receipts = on,
            Edit::Accept => {}
            Edit::Refuse => (contact.request, contact.refused) = (None, true),
            Edit::Block => (contact.request, contact.trust) = (None, Trust::Blocked),
            Edit::Unblock if contact.trust == Trust::Blocked => contact.trust = pinned,
            Edit::Unblock => {}
            Edit::Remove => {
                contact.added = false;
                contact.petname = None;
                contact.seeds.clear();
                contact.refused = false;
                contact.trust = if contact.trust == Trust::Blocked { Trust::Blocked } else { pinned };
            }
        }
        let (is_asking, is_blocked) = (contact.request.is_some(), contact.trust == Trust::Blocked);
        if !is_asking {
            self.on_answered(&id);
        }
        if is_blocked {
            self.cut(now, id);
        } else {
            self.half_open.shunned.forget(&id);
        }
        self.readmit(id);
        self.tell_changed(id);
        Ok(())
    }

    /// What is said of a peer has changed: whoever shows it is told.
    fn tell_changed(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get(&id)
            && peer.told.is_some()
        {
            let view = self.view(peer);
            self.tell(Event::Peer(view));
        }
    }

    /// Everything that a peer has with us ends, and it is not told: to it we are as if switched off.
    fn cut(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut ended: Vec<_> = peer.sessions().map(|session| session.local_index()).collect();
        if let Link::Handshaking(dial) = std::mem::replace(&mut peer.link, Link::Idle) {
            ended.push(dial.index);
        }
        peer.rising.clear();
        peer.fading = None;
        peer.told_busy = None;
        peer.doubt_until = None;
        if let Some(conversation) = &mut peer.conversation {
            conversation.on_session_lost();
        }
        for index in ended {
            self.routes.remove(&index);
        }
        self.in_view.remove(&id);
        self.drop_relays(&id);
        self.end_punches(&id);
        self.end_seek(id);
        tracing::debug!(peer = %id.short(), "cut off");
        self.adjust_keepalive(now, id);
    }
}
