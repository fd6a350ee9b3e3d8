//! Answers to `backup`, `export` and `import`: a copy of the profile; the history, a page at a time, and lines for it. A file of them is the client's business.

use super::{
    answer::{Answer, Labels, ask, resolve, unexpected},
    call::{Backup, Export, Import},
    proto::{ErrorLine, HistoryLine, ImportedLine, Line, NoticeCode, NoticeLine},
    server::{Node, Out, Owner},
};
use crate::{
    node::command::{self, Command, Reply},
    store::HistoryQuery,
    text::{Name, check_text},
};

/// Lines of one page: a few, since each may be a mebibyte.
const PAGE_ROWS: usize = 32;

/// `backup`.
pub(super) async fn backup<N: Node>(owner: &Owner<N>, call: Backup) -> Answer {
    if call.file.is_relative() {
        let text = format!("not a path from the root on: {}", call.file.display());
        return Err(ErrorLine::new("bad-request", 2, text).into());
    }
    Ok(owner.node.back_up(call.file).await?)
}

/// `export`.
pub(super) async fn export<N: Node>(owner: &Owner<N>, call: Export, out: &Out) -> Answer {
    let peer = match call.peer {
        Some(peer) => Some(resolve(owner, peer, None, out).await?),
        None => None,
    };
    let labels = Labels::read(owner).await?;
    let query = HistoryQuery { peer, after: Some(call.after), limit: PAGE_ROWS, ..HistoryQuery::default() };
    let page = owner.node.reader().history(&query)?;
    for damaged in &page.damaged {
        tracing::warn!(%damaged, "left out of the export");
    }
    for (n, row) in page.rows {
        let name = labels.then(&row);
        out.say(Line::History(HistoryLine { n: Some(n), ..HistoryLine::new(row, name) })).await?;
    }
    if !page.damaged.is_empty() {
        out.say(left_out(page.damaged.len())).await?;
    }
    Ok(())
}

/// So many lines cannot be read any more: whoever asked for all must know that these are not all.
pub(super) fn left_out(lines: usize) -> Line {
    let text = match lines {
        1 => "1 line of the history is damaged, and left out".to_owned(),
        lines => format!("{lines} lines of the history are damaged, and left out"),
    };
    Line::Notice(NoticeLine { code: NoticeCode::MessagesMissing, text, peer: None, name: None })
}

/// `import`.
pub(super) async fn import<N: Node>(owner: &Owner<N>, call: Import, out: &Out) -> Answer {
    for line in &call.lines {
        check_text(&line.text).map_err(|why| ErrorLine::new("bad-text", 2, format!("{}: {why}", line.id)))?;
    }
    let lines = call.lines.into_iter().map(|line| command::Import {
        id: line.id,
        peer: line.peer,
        name: Name::parse(&line.name).map_or_else(|_| String::new(), |name| name.as_str().to_owned()),
        direction: line.direction,
        kind: line.kind.0,
        text: line.text,
        sent_at: line.sent_at.0,
        received_at: line.received_at.0,
        state: line.state,
    });
    match ask(owner, Command::Import(lines.collect())).await? {
        Reply::Imported { added, known } => Ok(out.say(Line::Imported(ImportedLine { added, known, bad: 0 })).await?),
        reply => Err(unexpected(&reply)),
    }
}
