//! `mayfly-sim [--seeds A..B] [TEXT]`: the table of both scalers under the loads whose name contains TEXT.

use mayfly_sim::compare::{HEAD, HELD, duels, loads};
use std::ops::Range;

fn main() -> Result<(), String> {
    let (mut seeds, mut only) = (HELD, String::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => seeds = range(&args.next().unwrap_or_default())?,
            text => only = text.to_owned(),
        }
    }
    let loads: Vec<_> = loads().into_iter().filter(|load| load.to_string().contains(&only)).collect();
    println!("{HEAD}");
    let mut lost = Vec::new();
    for duel in duels(&loads, seeds) {
        println!("{duel}");
        lost.extend(duel.lost());
    }
    println!("not beaten: {lost:#?}");
    Ok(())
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("want --seeds A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(from)?..number(to)?)
}
