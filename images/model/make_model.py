"""Make a tiny Llama with random weights and a trained tokenizer, in seconds, the same bytes every time.

Runs inside the engine image, which brings torch, transformers and tokenizers:
    python make_model.py CORPUS FOLDER
The text it writes is nonsense; the engine, its API, its KV cache and its metrics are real.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 1024
MAX_LENGTH = 4096
WIDTH = 64
SPECIAL = ("<|pad|>", "<|start|>", "<|end|>")
# Every turn is rendered from the messages alone, so a longer conversation begins with the tokens of a shorter one.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tokenizer(corpus: Path) -> Tokenizer:
    """A byte-level BPE: it can spell any text, and knows the words of the corpus."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([corpus.read_text(encoding="utf-8")], trainer)
    return made


def model(vocabulary: int) -> LlamaForCausalLM:
    """Two layers of width 64; the seed makes the weights the same on every machine."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=MAX_LENGTH,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def write(folder: Path, corpus: Path) -> None:
    """Write tokenizer, configuration, weights and chat template into `folder`."""
    words = tokenizer(corpus)
    words.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL[0],
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "model_max_length": MAX_LENGTH,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    model(words.get_vocab_size()).save_pretrained(folder)


def main() -> None:
    """Build beside the destination and rename, so that a half-written model is never found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    unfinished = arguments.folder.with_name(arguments.folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # mostly there is none
    unfinished.mkdir(parents=True)
    write(unfinished, arguments.corpus)
    shutil.rmtree(arguments.folder, ignore_errors=True)  # mostly there is none
    os.rename(unfinished, arguments.folder)


if __name__ == "__main__":
    main()
