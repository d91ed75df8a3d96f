//! The order in which people sort names.

use std::cmp::Ordering;

/// Order in which numbers inside of texts count as numbers.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |t: &[u8]| t.iter().take_while(|c| c.is_ascii_digit()).count();
        let (na, nb) = (digits(a), digits(b));
        if na > 0 && nb > 0 {
            let number = |t: &[u8]| String::from_utf8_lossy(t).trim_start_matches('0').to_owned();
            let (x, y) = (number(&a[..na]), number(&b[..nb]));
            match x.len().cmp(&y.len()).then_with(|| x.cmp(&y)) {
                Ordering::Equal => (a, b) = (&a[na..], &b[nb..]),
                other => return other,
            }
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some((x, ra)), Some((y, rb))) if x == y => (a, b) = (ra, rb),
            (Some((x, _)), Some((y, _))) => return x.cmp(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut lines = ["443/tcp -> x", "80/tcp -> x", "8080/tcp -> x", "9/udp -> x"];
        lines.sort_by(|a, b| natural(a, b));
        assert_eq!(lines, ["9/udp -> x", "80/tcp -> x", "443/tcp -> x", "8080/tcp -> x"]);
    }
}
