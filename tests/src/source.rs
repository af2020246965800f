//! Rust source as a reader of it needs: code without comments and tests, the strings in it, and the paths that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file of a crate.
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The code without comments, strings' contents and what only tests see.
    pub code: String,
    /// The strings in that code.
    pub strings: Vec<String>,
}

/// The modules of the crate in `folder` by their paths, such as `["gpu", "device"]`; the crate's own is empty. Modules that
/// only tests see are left out.
pub fn modules(folder: &Path) -> BTreeMap<Vec<String>, Source> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    let mut found = BTreeMap::new();
    let mut only_tests = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let module = module_of(file.strip_prefix(folder).unwrap());
        let (source, tests) = read(file, &text);
        only_tests.extend(tests.into_iter().map(|name| [module.clone(), vec![name]].concat()));
        found.insert(module, source);
    }
    found.retain(|module, _| !only_tests.iter().any(|tests| module.starts_with(tests)));
    found
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> = file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// A file's source, and the modules in other files that only tests see.
fn read(file: PathBuf, text: &str) -> (Source, Vec<String>) {
    let (mut code, strings) = split(text);
    let mut tests = Vec::new();
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = start + item_end(&code[start..]);
        let item = code[start..end].trim_end();
        if let Some(name) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            tests.push(name.1.trim().to_owned());
        }
        code.replace_range(start..end, "");
    }
    let strings = numbers(&code).filter_map(|number| strings.get(number).cloned()).collect();
    (Source { file, code, strings }, tests)
}

/// Where the item at the beginning of `code` ends: at a semicolon, or with its braces.
fn item_end(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' | '(' | '[' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' | ')' | ']' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The numbers of the strings that are left in `code`.
fn numbers(code: &str) -> impl Iterator<Item = usize> {
    code.split('"').skip(1).step_by(2).map(|number| number.parse().unwrap())
}

/// Code whose strings are replaced by their numbers, and the strings. Comments are left out.
fn split(text: &str) -> (String, Vec<String>) {
    let (mut code, mut strings) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = string(rest, &code) {
            code.push_str(&format!("\"{}\"", strings.len()));
            strings.push(rest[..length].to_owned());
            length
        } else if let Some(length) = character(rest) {
            code.push(' ');
            length
        } else {
            code.push(letter);
            letter.len_utf8()
        };
        rest = &rest[length..];
    }
    (code, strings)
}

/// How long the string at the beginning of `rest` is, raw or not, if one begins there.
fn string(rest: &str, before: &str) -> Option<usize> {
    if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        for (at, letter) in inside.char_indices() {
            match letter {
                '"' if !escaped => return Some(at + 2),
                '\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        return Some(rest.len());
    }
    let word = before.ends_with(|letter: char| letter.is_alphanumeric() && letter != 'b' || letter == '_');
    let hashes = rest.strip_prefix('r').filter(|_| !word)?.split('"').next()?;
    if !hashes.bytes().all(|byte| byte == b'#') || hashes.len() + 1 >= rest.len() {
        return None;
    }
    let end = format!("\"{hashes}");
    let start = hashes.len() + 2;
    Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// How long the character at the beginning of `rest` is, if it is no lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if let Some(escape) = inside.strip_prefix('\\') {
        let first = escape.chars().next()?.len_utf8();
        return escape[first..].find('\'').map(|end| 2 + first + end + 1);
    }
    let letter = inside.chars().next()?.len_utf8();
    inside[letter..].starts_with('\'').then_some(letter + 2)
}

impl Source {
    /// The paths that the code names which begin with `crate`, `super` or `self`, those of a `use` with braces each by itself.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for root in ["crate", "super", "self"] {
            for (at, _) in self.code.match_indices(&format!("{root}::")) {
                let before = self.code[..at].chars().next_back();
                if !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':') {
                    paths.extend(tree(&self.code[at..]));
                }
            }
        }
        paths
    }
}

/// The paths of a tree of them, such as `a::{b, c::d}`, at the beginning of `code`.
fn tree(code: &str) -> Vec<Vec<String>> {
    let code = code.trim_start();
    if let Some(inside) = code.strip_prefix('{') {
        return branches(inside).into_iter().flat_map(tree).collect();
    }
    let end = code.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(code.len());
    let word = code[..end].to_owned();
    let more = |rest: &&str| rest.trim_start().starts_with(|letter: char| letter.is_alphabetic() || letter == '_' || letter == '{');
    match code[end..].strip_prefix("::").filter(more) {
        Some(rest) => tree(rest).into_iter().map(|path| [vec![word.clone()], path].concat()).collect(),
        None => vec![vec![word]],
    }
}

/// The parts between commas up to the brace that closes them.
fn branches(inside: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in inside.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}
