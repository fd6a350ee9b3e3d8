//! `whoami`: name, id, addresses, seeds and link of this profile.

use std::io::IsTerminal;

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

use super::{End, output::Output};
use crate::{
    app::Program,
    control::{
        client::Client,
        proto::{Call, ErrorLine, Line, WhoamiLine},
    },
    text::Shown,
};

/// Black on white whatever the terminal's colours are, and back to these.
const INK: (&str, &str) = ("\x1b[38;5;16;48;5;231m", "\x1b[0m");

/// Arguments of `whoami`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only the link that others add me by
    #[arg(long)]
    link: bool,
    /// The link as a QR code
    #[arg(long)]
    qr: bool,
}

/// Runs it with an owner.
pub async fn run(program: &Program, args: &Args, client: &Client) -> Result<(), End> {
    let output = Output { json: program.json };
    for line in client.call(Call::WHOAMI).all().await? {
        let Line::Whoami(me) = &line else { continue };
        if program.json {
            output.line(&line.to_json())?;
            continue;
        }
        if args.link {
            output.line(&me.link)?;
        }
        if args.qr {
            output.line(&qr(&me.link, has_colour(program))?)?;
        }
        if !args.link && !args.qr {
            output.line(&in_full(me))?;
        }
    }
    Ok(())
}

fn has_colour(program: &Program) -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !program.settings.plain && !is_dumb && std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal()
}

/// Two modules to a character, with the quiet zone around that readers need. Not `inked`, what is light is
/// drawn, since most terminals are dark; readers take the negative on the others.
fn qr(link: &str, inked: bool) -> Result<String, ErrorLine> {
    let code = QrCode::with_error_correction_level(link, EcLevel::L)
        .map_err(|e| ErrorLine::new("internal", 1, format!("no QR code: {e}")))?;
    let mut render = code.render::<Dense1x2>();
    if !inked {
        return Ok(render.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build());
    }
    let rows = render.build();
    let (black_on_white, back) = INK;
    Ok(rows.lines().map(|row| format!("{black_on_white}{row}{back}")).collect::<Vec<_>>().join("\n"))
}

fn in_full(me: &WhoamiLine) -> String {
    let mut rows = vec![("name", Shown::line(&me.name).to_string()), ("id", me.id.to_string()), ("port", me.port.to_string())];
    rows.extend(me.addrs.iter().map(|addr| ("address", addr.to_string())));
    rows.extend(me.seeds.iter().map(|seed| ("seed", Shown::line(seed).to_string())));
    rows.push(("link", me.link.clone()));
    rows.push(("at rest", if me.encrypted { "encrypted" } else { "not encrypted: as safe as this account" }.to_owned()));
    rows.push(("owner", me.owner_pid.map_or_else(|| "this command".to_owned(), |pid| format!("pid {pid}"))));
    rows.push(("version", me.version.clone()));
    rows.iter().map(|(key, value)| format!("{key:<8} {value}")).collect::<Vec<_>>().join("\n")
}
