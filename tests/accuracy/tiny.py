"""A small random Llama model and texts that it has written itself, for tests/cli/test_accuracy.sh.

    tests/accuracy/tiny.py OUT      writes OUT/model, OUT/calibrate.txt, OUT/test.txt

Nobody predicts these texts better than the model as it is: whatever is rounded costs, by the distance of two distributions.
Nothing needs to be trained. Its layers matter unequally, and some of their inputs are much larger than others.
"""
import sys

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS, LENGTH, CALIBRATE, TEST = 128, 128, 24, 40


def tokenizer():
    """A character is a token."""
    inner = Tokenizer(models.WordLevel({chr(0x4E00 + i): i for i in range(WORDS)}, unk_token=chr(0x4E00)))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def model():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=WORDS, hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.07, bos_token_id=0,
                         eos_token_id=None, pad_token_id=0)
    made = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        made.lm_head.weight.mul_(2)
        for number, layer in enumerate(made.model.layers):
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight[torch.randperm(256)[:6]] = 6.0
            layer.self_attn.o_proj.weight.mul_((2, 1, 0.3)[number])
            layer.mlp.down_proj.weight.mul_((0.3, 1, 2)[number])
    return made


def main():
    (out,) = sys.argv[1:]
    torch.set_num_threads(1)
    made, words = model(), tokenizer()
    made.save_pretrained(out + "/model")
    words.save_pretrained(out + "/model")
    begin = torch.zeros(CALIBRATE + TEST, 1, dtype=torch.long)
    written = made.generate(begin, attention_mask=torch.ones_like(begin), do_sample=True, top_k=0, max_new_tokens=LENGTH - 1)
    for name, rows in (("calibrate", written[:CALIBRATE]), ("test", written[CALIBRATE:])):
        with open(f"{out}/{name}.txt", "w", encoding="utf-8") as f:
            f.write("".join(chr(0x4E00 + i) for i in rows.flatten().tolist()))


if __name__ == "__main__":
    main()
