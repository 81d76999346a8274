/* The linear layers of a transformer, from the fields of a Hugging Face config.json. */
#ifndef MT_MODEL_H
#define MT_MODEL_H

#include "runtime/base/status.h"

enum { MODEL_NAME = 256 }; /* as long as a file may be called; a longer name is refused */
struct model {
    char name[MODEL_NAME]; /* "llama-3.1-8b"; of DIR/config.json: DIR */
    int hidden, intermediate, heads, kv_heads, head_dim, vocab;
    int decoders; /* layers of the stack; 0: the file does not say */
};

/* A layer as a serving engine runs it: projections that read the same input are one GEMM. */
struct model_layer {
    const char *name; /* of model_layers(): static */
    int n, k;         /* output and input features of one GPU's share */
};
enum { MODEL_LAYERS = 4 };

/* `name` is a name in configs/models/, or the path of a file or of a folder with a config.json. Fields: hidden_size,
 * intermediate_size, num_attention_heads, vocab_size, num_key_value_heads (absent: num_attention_heads), head_dim
 * (absent: hidden_size / num_attention_heads), num_hidden_layers (may be absent). MT_USAGE names the field and the file
 * when one is missing or makes no sense. */
enum mt_status model_read(const char *name, struct model *out);

/* qkv    [(heads + 2 kv_heads) head_dim, hidden]   split along N; key/value heads are repeated when tp > kv_heads
 * o      [hidden, heads head_dim]                  split along K
 * gate_up [2 intermediate, hidden]                 split along N
 * down   [hidden, intermediate]                    split along K
 * MT_USAGE when the model cannot be split so. */
enum mt_status model_layers(const struct model *model, int tp, struct model_layer out[MODEL_LAYERS]);

/* How often a model that is known by its name alone has a layer: its decoder layers, if there is such a name in
 * configs/models/ and its layer is this one; else 0. */
struct bundle_layer;
int model_decoders(const struct bundle_layer *layer);

/* The name of the model whose file is at `path`: the file's without its ending; of DIR/config.json that of DIR, and
 * NAME where DIR is models--ORG--NAME/snapshots/HASH, as in the cache of Hugging Face. Looks at the text alone.
 * MT_USAGE if it is too long, no UTF-8 or has control characters. */
enum mt_status model_name_of(const char *path, char out[MODEL_NAME]);
/* The same of a model's folder, however it is called here: of ".", "DIR/" and a link it is the name of the folder that
 * they lead to. MT_FAILURE if it is not there. */
enum mt_status model_folder_name(const char *folder, char out[MODEL_NAME]);

#endif
