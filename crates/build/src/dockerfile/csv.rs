//! Lists of settings as `--mount` and `--device` have them: one line of CSV.

/// Fields of a line of CSV; a quoted field may hold commas.
pub(super) fn fields(text: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(c) => field.push(c),
                    None => return Err("extraneous or missing \" in quoted-field"),
                }
            }
            if chars.peek().is_some_and(|c| *c != ',') {
                return Err("extraneous or missing \" in quoted-field");
            }
        }
        while let Some(c) = chars.next_if(|c| *c != ',') {
            if c == '"' {
                return Err("bare \" in non-quoted field");
            }
            field.push(c);
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}
