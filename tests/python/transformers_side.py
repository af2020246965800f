"""What Hugging Face's libraries make of an exported folder: the other side of tests/export/main.rs.

Takes the folder; reads questions from standard input and writes answers, both JSON:
  texts          → encoded: by `tokenizers` with encode_special_tokens; wrapped: by transformers with split_special_tokens;
                   pieces: what `wrapped` is decoded to
  conversations  → rendered: the ids by the chat template, or the sentence with which it refuses; an element is
                   {"messages": ..., "add_generation_prompt": ...}
  ids            → logits of a list of ids
  prompt, new    → greedy: the ids that `generate` writes after a prompt, at most so many;
                   text: what they are decoded to, without special tokens
  save           → nothing; writes the model to that folder, as transformers does
"""

import json
import os
import sys
import warnings

# Nothing may be looked for anywhere but in the folder.
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.simplefilter("ignore")

import torch
import transformers
from tokenizers import Tokenizer

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

folder = sys.argv[1]
asked = json.load(sys.stdin)
answers = {}

raw = Tokenizer.from_file(f"{folder}/tokenizer.json")
raw.encode_special_tokens = True
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)


def rendered(messages, add_generation_prompt):
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, return_dict=False)
    except Exception as error:  # what the template raises is wrapped differently from version to version
        return str(error)


if "texts" in asked:
    answers["encoded"] = [raw.encode(text, add_special_tokens=False).ids for text in asked["texts"]]
    answers["wrapped"] = [tokenizer(text, split_special_tokens=True)["input_ids"] for text in asked["texts"]]
    answers["pieces"] = [tokenizer.decode(ids) for ids in answers["wrapped"]]
if "conversations" in asked:
    answers["rendered"] = [rendered(**conversation) for conversation in asked["conversations"]]
if asked.keys() & {"ids", "prompt", "save"}:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model.eval()
    answers["class"] = type(model).__name__
    answers["loading"] = {what: sorted(map(str, names)) for what, names in report.items() if what.endswith("_keys")}
with torch.no_grad():
    if "ids" in asked:
        answers["logits"] = model(torch.tensor([asked["ids"]])).logits[0].tolist()
    if "prompt" in asked:
        prompt = torch.tensor([asked["prompt"]])
        written = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=asked["new"])
        answers["greedy"] = written[0, prompt.shape[1] :].tolist()
        answers["text"] = tokenizer.decode(answers["greedy"], skip_special_tokens=True)
if "save" in asked:
    model.save_pretrained(asked["save"])
json.dump(answers, sys.stdout)
