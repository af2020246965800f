//! Drivers' assembly texts as loops: how many instructions a turn issues, and how many of them are fused multiply-adds.
//!
//! A text becomes basic blocks with edges; loops are the natural loops of that graph, so rotated loops and blocks that
//! the compiler moved elsewhere are counted where they run. Apple's driver hands out no text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::gpus::Compiler;
use crate::stats::{Loop, Nest};

/// A run of instructions that is entered only at its start.
#[derive(Debug, Default)]
struct Block {
    label: String,
    /// Of each instruction: slots, fused multiply-adds.
    instructions: Vec<Loop>,
    targets: Vec<String>,
    /// Whether control can run on into the next block.
    falls_through: bool,
}

/// The internal representation that holds the final assembly.
pub fn name(compiler: Compiler) -> Option<&'static str> {
    match compiler {
        Compiler::Aco => Some("Assembly"),
        Compiler::Nak => Some("NAK assembly"),
        Compiler::Brw => Some("GEN Assembly"),
        Compiler::Ir3 => Some("IR3 Assembly"),
        Compiler::Agx => None,
    }
}

/// The program's loops that hold fused multiply-adds, in the text's order.
pub fn nests(compiler: Compiler, text: &str) -> Vec<Nest> {
    let mut loops = loops(&blocks(compiler, text));
    loops.retain(|one| one.work.fmas > 0);
    loops.sort_by_key(|one| std::cmp::Reverse(one.body.len()));
    let mut nests = Vec::new();
    for one in loops {
        place(&mut nests, one);
    }
    Placed::nests(nests)
}

/// A loop among those that are placed already.
struct Placed {
    natural: Natural,
    inside: Vec<Placed>,
}

impl Placed {
    fn nests(mut all: Vec<Placed>) -> Vec<Nest> {
        all.sort_by_key(|one| one.natural.body.first().copied());
        all.into_iter().map(|one| Nest { work: one.natural.work, inside: Placed::nests(one.inside) }).collect()
    }
}

/// Puts a loop into the innermost of `nests` around it. Larger ones must be placed first.
fn place(nests: &mut Vec<Placed>, one: Natural) {
    match nests.iter_mut().find(|around| around.natural.body.is_superset(&one.body)) {
        Some(around) => place(&mut around.inside, one),
        None => nests.push(Placed { natural: one, inside: Vec::new() }),
    }
}

/// The text's blocks in its order.
fn blocks(compiler: Compiler, text: &str) -> Vec<Block> {
    let mut blocks = vec![Block { falls_through: true, ..Block::default() }];
    for line in text.lines() {
        let line = line.trim();
        match read(compiler, line) {
            Line::Nothing => {}
            Line::Label(label) => blocks.push(Block { label, falls_through: true, ..Block::default() }),
            Line::Targets(labels) => {
                let block = blocks.last_mut().expect("there is a first block");
                block.targets = labels;
                block.falls_through = false;
            }
            Line::Repeated(times) => {
                let block = blocks.last_mut().expect("there is a first block");
                if let Some(&last) = block.instructions.last() {
                    block.instructions.extend(std::iter::repeat_n(last, times));
                }
            }
            Line::Instruction { work, target, leaves } => {
                let block = blocks.last_mut().expect("there is a first block");
                block.instructions.push(work);
                // What follows a jump is another block, with a label or without one.
                if leaves || target.is_some() {
                    block.targets.extend(target);
                    block.falls_through = !leaves;
                    blocks.push(Block { falls_through: true, ..Block::default() });
                }
            }
        }
    }
    blocks
}

/// A line of assembly.
enum Line {
    Nothing,
    /// The start of a block.
    Label(String),
    /// All blocks that the current one leads to.
    Targets(Vec<String>),
    /// The last instruction comes so many times more.
    Repeated(usize),
    /// An instruction, the block that it may jump to, and whether it always leaves.
    Instruction {
        work: Loop,
        target: Option<String>,
        leaves: bool,
    },
}

fn read(compiler: Compiler, line: &str) -> Line {
    match compiler {
        Compiler::Aco => read_aco(line),
        Compiler::Nak => read_nak(line),
        Compiler::Brw => read_brw(line),
        Compiler::Ir3 => read_ir3(line),
        Compiler::Agx => Line::Nothing,
    }
}

fn instruction(slots: u32, fmas: u32, target: Option<&str>, leaves: bool) -> Line {
    Line::Instruction { work: Loop { slots, fmas }, target: target.map(str::to_owned), leaves }
}

/// `v_fmac_f32_e32 v25, v72, v81   ; 5632a348`, blocks `BB87:`.
fn read_aco(line: &str) -> Line {
    if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with("BB")) {
        return Line::Label(label.to_owned());
    }
    if let Some(times) = line.strip_prefix("(then repeated ").and_then(|rest| rest.split(' ').next()) {
        return Line::Repeated(times.parse().unwrap_or(0));
    }
    let code = line.split(';').next().unwrap_or_default().trim();
    let operation = code.split_whitespace().next().unwrap_or_default();
    if !matches!(operation.split_once('_'), Some((unit, _)) if unit.chars().all(|c| c.is_ascii_lowercase()) && !unit.is_empty()) {
        return Line::Nothing;
    }
    // Hints to the scheduler take no slot of a vector unit; waits do not either, but hold the wave up, so they count.
    if ["s_nop", "s_delay_alu", "s_clause", "s_code_end", "s_inst_prefetch", "s_set_inst"].iter().any(|hint| operation.starts_with(hint)) {
        return instruction(0, 0, None, false);
    }
    let fused = [
        "v_fma_f",
        "v_fmac_f",
        "v_fmaak_f",
        "v_fmamk_f",
        "v_pk_fma",
        "v_fma_mix",
        "v_mad_f",
        "v_mac_f",
        "v_madak_f",
        "v_madmk_f",
        "v_wmma",
        "v_dot",
        "v_dual_fma",
    ];
    // Two operations can share a slot on RDNA 3.
    let fmas = code.split("::").filter(|half| fused.iter().any(|name| half.trim().starts_with(name))).count() as u32;
    let branch = operation.starts_with("s_branch") || operation.starts_with("s_cbranch");
    let target = branch.then(|| code.split_whitespace().last()).flatten();
    instruction(1, fmas, target, operation == "s_branch" || operation == "s_endpgm")
}

/// `r76 = ffma r76 r79 rZ   // delay=5`, blocks `block 15 L30 [14] -> {` to `} -> [15, 16]`.
fn read_nak(line: &str) -> Line {
    if line.starts_with("block") {
        return line.split_whitespace().nth(1).map_or(Line::Nothing, |number| Line::Label(number.to_owned()));
    }
    if let Some(list) = line.strip_prefix("} -> [") {
        let numbers = list.trim_end_matches(']').split(',').map(|number| number.trim().to_owned());
        return Line::Targets(numbers.filter(|number| !number.is_empty()).collect());
    }
    let code = line.split("//").next().unwrap_or_default().trim();
    if code.is_empty() || code.starts_with('}') || code.starts_with("nop") {
        return Line::Nothing;
    }
    let operation = code.split_once("= ").map_or(code, |(_, right)| right).split_whitespace().next().unwrap_or_default();
    let fused = ["ffma", "hfma2", "hmma", "imma", "dfma"].iter().any(|name| operation.starts_with(name));
    instruction(1, fused.into(), None, false)
}

/// `mad(8)  g113<1>F  g113<8,8,1>F …  { align1 1Q };`, blocks `LABEL29:`. Loops end in `while(8) JIP: LABEL29`; other jumps
/// only go forward.
fn read_brw(line: &str) -> Line {
    if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with("LABEL")) {
        return Line::Label(label.to_owned());
    }
    let code = line.split('{').next().unwrap_or_default();
    let unguarded = if code.starts_with('(') { code.split_once(") ").map_or(code, |(_, rest)| rest) } else { code };
    let operation = unguarded.split('(').next().unwrap_or_default();
    let sized = unguarded[operation.len()..].starts_with('(') && unguarded[operation.len() + 1..].starts_with(|c: char| c.is_ascii_digit());
    if !sized || !operation.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Line::Nothing;
    }
    let float = code.contains(">F ") || code.contains(">HF ") || code.trim_end().ends_with(">F") || code.trim_end().ends_with(">HF");
    let fused = (operation.starts_with("mad") && float) || operation.starts_with("dpas");
    let target =
        operation.starts_with("while").then(|| code.split("JIP:").nth(1)).flatten().and_then(|rest| rest.split_whitespace().next());
    instruction(1, fused.into(), target, false)
}

/// `(rpt1)mad.f32 r2.x, …`, blocks `l2199:`, jumps `br !p0.x, #l2199`.
fn read_ir3(line: &str) -> Line {
    if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with('l') && label[1..].chars().all(|c| c.is_ascii_digit())) {
        return Line::Label(label.to_owned());
    }
    let (mut code, mut slots) = (line, 1);
    while let Some((flag, rest)) = code.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        let count = ["rpt", "nop"].iter().find_map(|name| flag.strip_prefix(name)).and_then(|count| count.parse::<u32>().ok());
        slots += count.unwrap_or(0);
        code = rest.trim_start();
    }
    if !code.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Line::Nothing;
    }
    let operation = code.split_whitespace().next().unwrap_or_default();
    let fmas = if operation.starts_with("mad.f") { slots } else { 0 };
    let target =
        code.split_once("#l").map(|(_, number)| format!("l{}", number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default()));
    instruction(slots, fmas, target.as_deref(), operation == "jump" || operation == "end")
}

/// A natural loop.
struct Natural {
    body: BTreeSet<usize>,
    work: Loop,
}

fn loops(blocks: &[Block]) -> Vec<Natural> {
    let index: HashMap<&str, usize> = blocks.iter().enumerate().map(|(i, block)| (block.label.as_str(), i)).collect();
    let next: Vec<BTreeSet<usize>> = blocks
        .iter()
        .enumerate()
        .map(|(i, block)| {
            let mut next: BTreeSet<usize> = block.targets.iter().filter_map(|label| index.get(label.as_str()).copied()).collect();
            next.extend((block.falls_through && i + 1 < blocks.len()).then_some(i + 1));
            next
        })
        .collect();
    // Only what can be reached counts: not the padding behind a jump.
    let (mut before, mut open) = (vec![BTreeSet::new(); blocks.len()], vec![0]);
    let mut reached = BTreeSet::from([0]);
    while let Some(i) = open.pop() {
        for &j in &next[i] {
            before[j].insert(i);
            open.extend(reached.insert(j).then_some(j));
        }
    }
    let dominators = dominators(&before);
    let mut bodies: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for &i in &reached {
        for &head in next[i].intersection(&dominators[i]) {
            let body = bodies.entry(head).or_insert_with(|| BTreeSet::from([head]));
            let mut open = vec![i];
            while let Some(block) = open.pop() {
                if body.insert(block) {
                    open.extend(&before[block]);
                }
            }
        }
    }
    let work = |body: &BTreeSet<usize>| {
        body.iter()
            .flat_map(|&i| &blocks[i].instructions)
            .fold(Loop::default(), |sum, one| Loop { slots: sum.slots + one.slots, fmas: sum.fmas + one.fmas })
    };
    bodies.into_values().map(|body| Natural { work: work(&body), body }).collect()
}

/// Of each block, the blocks through which every way to it leads. The first block is the entry.
fn dominators(before: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let all: BTreeSet<usize> = (0..before.len()).collect();
    let mut dominators = vec![all; before.len()];
    dominators[0] = BTreeSet::from([0]);
    let mut changed = true;
    while changed {
        changed = false;
        for i in 1..before.len() {
            let mut ways = before[i].iter().map(|&way| &dominators[way]);
            let Some(mut now) = ways.next().cloned() else { continue };
            for way in ways {
                now = now.intersection(way).copied().collect();
            }
            now.insert(i);
            if now != dominators[i] {
                dominators[i] = now;
                changed = true;
            }
        }
    }
    dominators
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop whose body stands before its head, as ACO rotates them.
    #[test]
    fn a_rotated_loop_is_found_and_hints_take_no_slot() {
        let text = "BB1:\n\ts_branch BB3 ; bfa0\n\ts_nop 0 ; bf80\n\t(then repeated 3 times)\nBB2:\n\tv_fmac_f32_e32 v1, v2, v3 ; 1\n\t(then repeated 1 times)\n\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6 ; 2\n\ts_delay_alu instid0(VALU_DEP_2) ; 3\nBB3:\n\ts_waitcnt lgkmcnt(3) ; 4\n\ts_cbranch_scc0 BB2 ; 5\n\ts_endpgm ; 6\n";
        assert_eq!(nests(Compiler::Aco, text), vec![Nest { work: Loop { slots: 5, fmas: 4 }, inside: vec![] }]);
    }

    #[test]
    fn a_loop_in_a_loop_is_counted_once_in_the_outer_one() {
        let text = "block.u 0 L0 [] -> {\n  r1 = mov rZ // delay=1\n} -> [1]\nblock 1 L1 [0, 2] -> {\n  r2 = ld.global.b128 [r2] // delay=1\n} -> [2]\nblock 2 L2 [1, 2] -> {\n  r3 = ffma r3 r4 r5 // delay=1\n@p0 bra pT L2 // delay=1\n} -> [2, 3]\nblock 3 L3 [2] -> {\n@p1 bra pT L1 // delay=1\n} -> [1, 4]\nblock 4 L4 [3] -> {\n  exit // delay=1\n} -> []\n";
        let inside = vec![Nest { work: Loop { slots: 2, fmas: 1 }, inside: vec![] }];
        assert_eq!(nests(Compiler::Nak, text), vec![Nest { work: Loop { slots: 4, fmas: 1 }, inside }]);
    }

    #[test]
    fn intel_and_qualcomm_loops_are_read() {
        let intel = "mov(8) g1<1>D 0D { align1 1Q };\nLABEL1:\nmad(8) g3<1>F g3<8,8,1>F g9<8,8,1>F g1<1,1,1>F { align1 1Q };\nsync nop(1) null<0,1,0>UB { align1 };\n(+f0.0) while(8) JIP: LABEL1 { align1 1Q };\nmov(8) g1<1>D 0D { align1 1Q };\n";
        assert_eq!(nests(Compiler::Brw, intel), vec![Nest { work: Loop { slots: 3, fmas: 1 }, inside: vec![] }]);
        let qualcomm =
            "mov.u32u32 r0.x, 0\nl7:\n(sy)(rpt1)mad.f32 r2.x, r3.x, r4.x, r2.x\n(nop3) add.s r1.x, r1.x, 1\nbr !p0.x, #l7\nend\n";
        assert_eq!(nests(Compiler::Ir3, qualcomm), vec![Nest { work: Loop { slots: 7, fmas: 2 }, inside: vec![] }]);
    }

    #[test]
    fn a_text_without_loops_has_none() {
        assert!(nests(Compiler::Aco, "\tv_fma_f32 v0, v0, v0, v0 ; 1\n").is_empty());
    }
}
