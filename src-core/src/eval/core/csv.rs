//! Comma-separated values, RFC 4180: fields may be quoted, and then hold commas, newlines and doubled quotes.

/// A row: its fields, and the line where it begins, from 1.
pub type Row = (Vec<String>, usize);

/// The rows of a text. Empty lines are none.
///
/// # Errors
/// The line where a quoted field begins that never ends, or that something follows.
pub fn rows(text: &str) -> Result<Vec<Row>, usize> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut first) = (1, 1);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if field.is_empty() => {
                let opened = line;
                loop {
                    match chars.next() {
                        Some('"') if chars.peek() == Some(&'"') => field.extend(chars.next()),
                        Some('"') => break,
                        Some(c) => {
                            line += usize::from(c == '\n');
                            field.push(c);
                        }
                        None => return Err(opened),
                    }
                }
                if chars.peek().is_some_and(|next| !matches!(next, ',' | '\n' | '\r')) {
                    return Err(opened);
                }
            }
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if matches!(chars.peek(), None | Some('\n')) => {}
            '\n' => {
                if !row.is_empty() || !field.is_empty() {
                    row.push(std::mem::take(&mut field));
                    rows.push((std::mem::take(&mut row), first));
                }
                line += 1;
                first = line;
            }
            c => field.push(c),
        }
    }
    if !row.is_empty() || !field.is_empty() {
        row.push(field);
        rows.push((row, first));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn fields_may_be_quoted() {
        let text = "a,b\r\n\n\"x, \"\"y\"\"\n z\",,c\nlast,";
        let want = [(vec!["a", "b"], 1), (vec!["x, \"y\"\n z", "", "c"], 3), (vec!["last", ""], 5)];
        let got = rows(text).unwrap();
        assert_eq!(got.iter().map(|(row, line)| (row.iter().map(String::as_str).collect(), *line)).collect::<Vec<_>>(), want);
        assert_eq!(rows("a\n\"b"), Err(2));
        assert_eq!(rows("\"a\"b"), Err(1));
        assert_eq!(rows(""), Ok(Vec::new()));
    }
}
