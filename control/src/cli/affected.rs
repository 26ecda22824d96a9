//! `sekisho affected`: who is denied on port 25, or would be.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

use super::remote::{Waiting, connect, heard};
use super::{Failure, shorten};
use crate::affected::{Hint, MANY_DESTINATIONS, Row, write_csv};
use crate::clock::whole_second;
use crate::rpc::methods::affected::{List, MOST, Wish};
use crate::words::plural;

/// What `affected` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Customers of this pool only
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Begin a new list: what is printed is the list as it was, to the last attempt
    #[arg(long, conflicts_with = "former")]
    reset: bool,
    /// The list as it was at the last --reset
    #[arg(long)]
    former: bool,
    /// The daemon's socket [env: SEKISHO_SOCKET] [default: /run/sekisho/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For a spreadsheet
    Csv,
    /// One object
    Json,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let json = arguments.json || arguments.format == Format::Json;
    let mut client = connect(arguments.socket.as_deref())?;
    let waiting = Waiting::begin("reading");
    let mut wish = Wish {
        pool: arguments.pool.clone(),
        limit: MOST,
        after: Some(String::new()),
        reset: arguments.reset,
        former: arguments.former,
    };
    let list = loop_through(&mut wish, |wish| heard(client.call("affected", wish), json, out));
    drop(waiting);
    let list = list?;
    match arguments.format {
        _ if json => {
            serde_json::to_writer(&mut *out, &list).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Csv => write_csv(&list.customers, out)?,
        _ => print(&list, out)?,
    }
    Ok(())
}

/// All pages as one list, those with the most attempts first.
fn loop_through(
    wish: &mut Wish,
    mut ask: impl FnMut(&Wish) -> Result<List, Failure>,
) -> Result<List, Failure> {
    let mut list = ask(wish)?;
    // The rest of it is there under its new name.
    wish.former |= std::mem::take(&mut wish.reset);
    while let Some(next) = list.next.take() {
        wish.after = Some(next);
        let page = ask(wish)?;
        if page.resets != list.resets {
            return Err(Failure::refused(
                "somebody began the list anew meanwhile: ask again, or with --former",
            ));
        }
        list.customers.extend(page.customers);
        (list.next, list.accuracy) = (page.next, page.accuracy);
    }
    list.found = list.customers.len();
    list.customers.sort_by(|a, b| (b.attempts, &a.customer).cmp(&(a.attempts, &b.customer)));
    Ok(list)
}

fn print(list: &List, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} since {}", plural(list.found, "affected customer"), list.since)?;
    if !list.customers.is_empty() {
        writeln!(
            out,
            "\n{:<40}{:<18}{:>10}{:>10}{:>9}  hint",
            "customer", "pool", "attempts", "monitored", "servers"
        )?;
    }
    for row in &list.customers {
        line(row, out)?;
    }
    let mut hints: HashMap<&str, usize> = HashMap::new();
    list.customers.iter().for_each(|row| *hints.entry(row.hint.words()).or_default() += 1);
    if hints.contains_key(Hint::Infected.words()) {
        writeln!(
            out,
            "\ninfected: {MANY_DESTINATIONS} servers or more, or answers alone; a customer's own mail server looks \
             the same"
        )?;
    }
    let accuracy = &list.accuracy;
    if accuracy.displaced_customers > 0 {
        writeln!(
            out,
            "\nmore customers than places: {} of all {} attempts are in no line; who is not listed had at\n\
             most {}; raise `[affected] customers`",
            accuracy.displaced_attempts, accuracy.attempts, accuracy.unlisted_at_most
        )?;
    }
    Ok(())
}

fn line(row: &Row, out: &mut impl Write) -> io::Result<()> {
    let more = if row.attempts_at_most > row.attempts { "+" } else { "" };
    writeln!(
        out,
        "{:<40}{:<18}{:>10}{:>10}{:>9}  {}",
        row.customer,
        shorten(row.pool.as_deref().unwrap_or("in no pool"), 17),
        format!("{}{more}", row.attempts),
        row.would_deny,
        row.distinct_destinations,
        row.hint.words()
    )?;
    let to = &row.destinations;
    let kinds = [(to.own, "own"), (to.listed, "listed"), (to.other, "other")];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} to {kind}"))
        .collect();
    let (first, last) = (whole_second(&row.first_seen), whole_second(&row.last_seen));
    let text = format!("{first} to {last}; {}", kinds.join(", "));
    writeln!(out, "  {}", shorten(&text, 98))
}
