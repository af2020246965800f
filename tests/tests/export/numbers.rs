//! Exports in fewer bits: how numbers are rounded, how small a file is, and what is refused.

use super::*;

/// A small file, read by the second reader, and imported again: the same numbers, in the same format.
#[test]
fn a_model_in_blocks_is_small_and_the_same_for_every_reader() {
    let workshop = workshop();
    let tokenizer = lured();
    let config = config(&tokenizer, [4, 2], Architecture::CURRENT);
    drawn::install(&workshop.home(), "a", &config, &tokenizer);
    let size = |path: &Path| fs::metadata(path).unwrap().len() as f64;
    let whole = size(&weights(&workshop, "a", drawn::STEP));
    let ids = ids(config.sequence_len, config.vocab_size);
    for (format, share) in [("bf16", 0.5), ("f16", 0.5), ("q8", 1.0625 / 4.0), ("q4", 0.5625 / 4.0)] {
        let folder = exported(&workshop, "a", "safetensors", &["--dtype", format]);
        let file = folder.join("model.safetensors");
        let is = size(&file) / whole;
        assert!(is > share && is < share * 1.1 + 0.02, "{format}: {is} of the size of f32");
        let again = imported(&workshop, &folder, &format!("a-{format}"));
        assert_same_values(&again, &file);
        assert!(size(&again) <= 1.01 * size(&file), "{format}: {} of {} bytes", size(&again), size(&file));
        let answer = python::ask("format.py", &folder, &json!({ "ids": [ids] }));
        assert_close(format, &drawn::logits(&workshop.home(), &format!("a-{format}"), &ids), &answer["logits"][0]);
        // Exported as f32 it is what it stands for, bit for bit.
        let wide = exported(&workshop, &format!("a-{format}"), "safetensors", &[]);
        assert_same_values(&wide.join("model.safetensors"), &file);
        let described = workshop.succeed(&["info", "--run", &format!("a-{format}"), "--json"]);
        let described: Value = serde_json::from_slice(&described.stdout).unwrap();
        assert_eq!(described["format"], format);
        let claimed = described["weight_bytes"][format].as_f64().unwrap();
        assert!((claimed / size(&file) - 1.0).abs() < 0.1, "{format}: {claimed} bytes are claimed");
    }
    let sentence = workshop.refused(&["export", "--run", "a", "--format", "hf", "--dtype", "q8", "--to", &workshop.path("x")]);
    assert!(sentence.contains("transformers does not read q8"), "{sentence}");
    assert!(!Path::new(&workshop.path("x")).exists());
}

#[test]
fn half_precision_is_the_nearest_there_is() {
    let workshop = workshop();
    let tokenizer = lured();
    drawn::install(&workshop.home(), "a", &config(&tokenizer, [2, 1], Architecture::CLASSIC), &tokenizer);
    let ours = tensors(&weights(&workshop, "a", drawn::STEP));
    let floats = |name: &str| bytemuck::pod_collect_to_vec::<u8, f32>(&ours[name].2);
    for (option, dtype, torch) in [("bf16", Dtype::BF16, "bfloat16"), ("f16", Dtype::F16, "float16")] {
        let folder = exported(&workshop, "a", "safetensors", &["--dtype", option]);
        assert_eq!(json_file(&folder.join("config.json"))["dtype"], torch);
        let theirs = tensors(&folder.join("model.safetensors"));
        assert!(theirs.keys().eq(ours.keys()));
        for (name, (found, shape, bytes)) in &theirs {
            let narrow = |value: f32| if dtype == Dtype::BF16 { bf16::from_f32(value).to_bits() } else { f16::from_f32(value).to_bits() };
            let expected: Vec<u16> = floats(name).into_iter().map(narrow).collect();
            assert!((*found, shape) == (dtype, &ours[name].1) && bytemuck::pod_collect_to_vec::<u8, u16>(bytes) == expected, "{name}");
        }
    }
    let folder = exported(&workshop, "a", "hf", &["--dtype", "bf16"]);
    assert_eq!(json_file(&folder.join("config.json"))["dtype"], "bfloat16");
    let answer = python::ask("transformers_side.py", &folder, &json!({ "ids": [1, 2, 3] }));
    assert_eq!(answer["logits"].as_array().unwrap().len(), 3);
}

#[test]
fn numbers_that_half_precision_cannot_hold_are_refused() {
    let workshop = workshop();
    let script = nc_tests::script::Script::with_logits(16, |_, _| 0.0);
    script.install_as(&workshop.home(), "a", &script.tokenizer.to_json(), |values| values[0] = 1e5);
    let before = Workshop::names(workshop.folder());
    let to = workshop.path("to");
    let sentence = workshop.refused(&["export", "--run", "a", "--format", "safetensors", "--dtype", "f16", "--to", &to]);
    assert!(sentence.contains("out of the range of f16") && sentence.contains("use --dtype bf16"), "{sentence}");
    assert_eq!(Workshop::names(workshop.folder()), before);
    workshop.succeed(&["export", "--run", "a", "--format", "safetensors", "--dtype", "bf16", "--to", &to]);
}
