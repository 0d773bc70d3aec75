//! The guest as a program of its own, where the large binary should not be started once per instance.

fn main() {
    std::process::exit(guest::main(std::env::args_os().skip(1)));
}
