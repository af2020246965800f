//! The part of YAML that `core.yaml` is written in: a mapping with one list of mappings, whose values are scalars or short lists of
//! scalars. Everything else (anchors, tags, block scalars, nested mappings) is refused by line, never guessed at.
//!
//! Scalars are plain, in single or in double quotes; comments begin with ` #`. YAML 1.2, <https://yaml.org/spec/1.2.2/>.

/// A value of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A scalar, as text.
    Text(String),
    /// A list of scalars.
    List(Vec<String>),
}

/// An entry of the list: its keys and values, each with its line.
pub type Entry = Vec<(String, Value, usize)>;

/// What is wrong, and in which line.
pub type Wrong = (usize, String);

fn wrong<T>(line: usize, reason: &str) -> Result<T, Wrong> {
    Err((line, reason.to_owned()))
}

/// The entries of the list under `key`.
///
/// # Errors
/// If the text is not of this form.
pub fn entries(text: &str, key: &str) -> Result<Vec<Entry>, Wrong> {
    let mut lines = Vec::new();
    for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let bare = line.trim_start_matches(' ');
        if bare.starts_with('\t') {
            return wrong(number + 1, "it is indented by a tab");
        }
        let content = bare.trim_end();
        if !(content.is_empty() || content.starts_with('#') || number == 0 && content == "---") {
            lines.push(Line { number: number + 1, indent: line.len() - bare.len(), content });
        }
    }
    let Some((first, rest)) = lines.split_first() else { return wrong(1, "it is empty") };
    if first.indent != 0 || without_comment(first.content) != format!("{key}:") {
        return wrong(first.number, &format!("expected `{key}:`"));
    }
    Reader { lines: rest, at: 0 }.entries()
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    content: &'a str,
}

struct Reader<'a> {
    lines: &'a [Line<'a>],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.at).copied()
    }

    fn entries(mut self) -> Result<Vec<Entry>, Wrong> {
        let Some(indent) = self.peek().map(|line| line.indent) else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        while let Some(line) = self.peek() {
            let after = dash(line.content).filter(|_| line.indent == indent);
            let Some(after) = after else { return wrong(line.number, "expected an entry of the list, which begins with `- `") };
            self.at += 1;
            let mut entry = Vec::new();
            if after.trim().is_empty() || after.trim_start().starts_with('#') {
                let Some(inner) = self.peek().map(|next| next.indent).filter(|&inner| inner > indent) else {
                    return wrong(line.number, "the entry is empty");
                };
                self.pairs(inner, &mut entry)?;
            } else {
                let inner = line.indent + line.content.len() - after.trim_start().len();
                self.pair(Line { indent: inner, content: after.trim_start(), ..line }, &mut entry)?;
                self.pairs(inner, &mut entry)?;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The pairs that are indented by as much.
    fn pairs(&mut self, indent: usize, entry: &mut Entry) -> Result<(), Wrong> {
        while let Some(line) = self.peek().filter(|line| line.indent == indent && dash(line.content).is_none()) {
            self.at += 1;
            self.pair(line, entry)?;
        }
        match self.peek() {
            Some(line) if line.indent > indent => wrong(line.number, "it is indented deeper than what is before it"),
            _ => Ok(()),
        }
    }

    fn pair(&mut self, line: Line<'a>, entry: &mut Entry) -> Result<(), Wrong> {
        let Line { number, indent, content } = line;
        let split = content.split_once(": ").or_else(|| content.strip_suffix(':').map(|key| (key, "")));
        let Some((key, rest)) = split else { return wrong(number, "expected a key and a value, as in `label: copa`") };
        let key = scalar(key.trim(), number)?;
        if entry.iter().any(|(other, ..)| *other == key) {
            return wrong(number, "the key is there twice");
        }
        let rest = rest.trim();
        let value = if rest.is_empty() || rest.starts_with('#') { self.block_list(indent, number)? } else { flow(rest, number)? };
        entry.push((key, value, number));
        Ok(())
    }

    /// A list of scalars, one a line, below a key that is indented by `indent`.
    fn block_list(&mut self, indent: usize, key_line: usize) -> Result<Value, Wrong> {
        let mut items = Vec::new();
        let Some(inner) = self.peek().map(|line| line.indent).filter(|&inner| inner >= indent) else {
            return wrong(key_line, "the key has no value");
        };
        while let Some(line) = self.peek().filter(|line| line.indent == inner) {
            let Some(item) = dash(line.content) else { break };
            self.at += 1;
            items.push(scalar(without_comment(item.trim()), line.number)?);
        }
        if items.is_empty() { wrong(key_line, "the key has no value") } else { Ok(Value::List(items)) }
    }
}

/// What follows the dash of a list's entry.
fn dash(content: &str) -> Option<&str> {
    content.strip_prefix("- ").or_else(|| (content == "-").then_some(""))
}

/// A plain scalar's text without a comment after it.
fn without_comment(text: &str) -> &str {
    if text.starts_with(['"', '\'']) {
        return text;
    }
    text.split_once(" #").map_or(text, |(before, _)| before).trim_end()
}

/// A value on the line of its key.
fn flow(text: &str, line: usize) -> Result<Value, Wrong> {
    let Some(inner) = text.strip_prefix('[') else { return scalar(without_comment(text), line).map(Value::Text) };
    let Some((inner, after)) = inner.split_once(']') else { return wrong(line, "the list has no end") };
    if !without_comment(&format!(" {}", after.trim())).trim().is_empty() && !after.trim().starts_with('#') {
        return wrong(line, "something follows the list");
    }
    if inner.trim().is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    let items = inner.split(',').map(|item| scalar(item.trim(), line));
    items.collect::<Result<_, _>>().map(Value::List)
}

/// The text of a scalar.
fn scalar(text: &str, line: usize) -> Result<String, Wrong> {
    match text.chars().next() {
        Some('"') => double_quoted(&text[1..], line),
        Some('\'') => single_quoted(&text[1..], line),
        None | Some('&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '{' | '}' | '[' | ']' | ',' | '?') => {
            wrong(line, "this form of YAML is not read here")
        }
        _ if text.contains(": ") || text.contains(" #") => wrong(line, "this form of YAML is not read here"),
        _ => Ok(text.to_owned()),
    }
}

/// Nothing but a comment may follow a quoted scalar.
fn ends(after: &str, line: usize) -> Result<(), Wrong> {
    let after = after.trim_start();
    if after.is_empty() || after.starts_with('#') { Ok(()) } else { wrong(line, "something follows the closing quote") }
}

fn single_quoted(text: &str, line: usize) -> Result<String, Wrong> {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        let Some((before, after)) = rest.split_once('\'') else { return wrong(line, "the quote is not closed in its line") };
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return ends(after, line).map(|()| value),
        }
    }
}

fn double_quoted(text: &str, line: usize) -> Result<String, Wrong> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return ends(chars.as_str(), line).map(|()| value),
            '\\' => value.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('0') => '\0',
                Some(same @ ('"' | '\\' | '/' | ' ')) => same,
                Some(form @ ('x' | 'u' | 'U')) => {
                    let digits: String = chars
                        .by_ref()
                        .take(match form {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        })
                        .collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    code.ok_or_else(|| (line, "the escape is no character".to_owned()))?
                }
                _ => return wrong(line, "there is no such escape"),
            }),
            c => value.push(c),
        }
    }
    wrong(line, "the quote is not closed in its line")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, value: &str, line: usize) -> (String, Value, usize) {
        (key.to_owned(), Value::Text(value.to_owned()), line)
    }

    #[test]
    fn both_ways_to_write_a_list_are_read() {
        let yaml = "# a comment\nicl_tasks: # more\n-\n  label: a # the first\n  num_fewshot: [10, 0]\n  delimiter: \"\\nAnswer: \" # why\n\n- label: 'b''s'\n  num_fewshot:\n  - 3\n  - 5\n  path: a/b#c.jsonl\n";
        let list = |items: &[&str]| Value::List(items.iter().map(|&item| item.to_owned()).collect());
        assert_eq!(
            entries(yaml, "icl_tasks").unwrap(),
            [
                vec![text("label", "a", 4), ("num_fewshot".into(), list(&["10", "0"]), 5), text("delimiter", "\nAnswer: ", 6)],
                vec![text("label", "b's", 8), ("num_fewshot".into(), list(&["3", "5"]), 9), text("path", "a/b#c.jsonl", 12)],
            ]
        );
        assert_eq!(
            entries("icl_tasks:\n    - a: b\n      c: \"\\x41\\u00e9\"\n", "icl_tasks").unwrap(),
            [vec![text("a", "b", 2), text("c", "Aé", 3)]]
        );
    }

    #[test]
    fn all_else_is_refused_by_line() {
        for (yaml, line) in [
            ("", 1),
            ("tasks:\n- a: b", 1),
            ("icl_tasks:\n a: b", 2),
            ("icl_tasks:\n- a: b\n   c: d", 3),
            ("icl_tasks:\n- a: b\n\tc: d", 3),
            ("icl_tasks:\n- a: b\n  a: c", 3),
            ("icl_tasks:\n- a: &x b", 2),
            ("icl_tasks:\n- a: |\n    b", 2),
            ("icl_tasks:\n- a: {b: c}", 2),
            ("icl_tasks:\n- a: [1, 2", 2),
            ("icl_tasks:\n- a: [1] 2", 2),
            ("icl_tasks:\n- a: \"b", 2),
            ("icl_tasks:\n- a: \"b\" c", 2),
            ("icl_tasks:\n- a: \"\\q\"", 2),
            ("icl_tasks:\n- a:\n- b: c", 2),
            ("icl_tasks:\n-\n- b: c", 2),
            ("icl_tasks:\n- b", 2),
            ("icl_tasks:\n- b: c\nmore: d", 3),
        ] {
            assert_eq!(entries(yaml, "icl_tasks").unwrap_err().0, line, "{yaml:?}");
        }
        assert_eq!(entries("icl_tasks:\n", "icl_tasks").unwrap(), Vec::<Entry>::new());
    }
}
