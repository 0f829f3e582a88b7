//! The rights that the documentation gives Lockstep's user of Redis: tests run with these and no more.

/// Name and password of that user.
pub(crate) const NAME: &str = "lockstep";

/// What every Lockstep needs, as docs/redis.md says: commands without, then with `+`.
pub(crate) fn documented() -> Vec<String> {
    let page = page();
    let line = page
        .lines()
        .find(|line| line.starts_with("    ACL SETUSER lockstep"));
    let words = line.unwrap().split(' ');
    words
        .filter(|word| word.starts_with(['+', '-']))
        .map(str::to_owned)
        .collect()
}

/// What some specs need besides, by the table of that page.
pub(crate) fn further() -> Vec<String> {
    let (_, table) = page().split_once("| also | for |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rights = rows.flat_map(|row| row.split('`').nth(1).unwrap().split(' '));
    rights.map(|right| right.replace("\\|", "|")).collect()
}

/// Arguments of a server for a user with these rights for these keys.
pub(crate) fn user_with(name: &str, password: &str, rights: &[String], keys: &str) -> Vec<String> {
    let password = format!(">{password}");
    let head = ["--user", name, "on", &password, "resetkeys", "resetchannels"].map(str::to_owned);
    [&head, rights, &[keys.to_owned()]].concat()
}

/// The user that the documentation gives Lockstep, with all that it says may be needed, for all keys: whatever is tested
/// here is tested with these rights and no more.
pub(crate) fn user() -> Vec<String> {
    user_with(NAME, NAME, &[documented(), further()].concat(), "~*")
}

fn page() -> &'static str {
    include_str!("../../docs/redis.md")
}
