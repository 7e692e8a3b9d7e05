//! Numbers of users and groups, from the files that hold them (passwd(5), group(5)).
//!
//! What only a directory service knows is not found: then the number says it.

/// The number of a name: the third field of the line that the name begins.
pub(super) fn number_of(file: &str, name: &str) -> Option<u32> {
    let lines = file.lines().map(|line| line.split(':'));
    let mut numbers = lines.filter_map(|mut fields| {
        let is_it = fields.next() == Some(name);
        fields.nth(1).filter(|_| is_it)?.parse().ok()
    });
    numbers.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_first_field_and_its_number_the_third() {
        let file = "root:x:0:0:root:/root:/bin/sh\n# a comment\n\nbroken\nhalf:x\nwww-data:x:33:\nwww-data:x:34:\n";
        for (name, number) in [("root", Some(0)), ("www-data", Some(33)), ("x", None), ("half", None), ("", None)] {
            assert_eq!(number_of(file, name), number, "{name}");
        }
    }
}
