"""The metadata of a GGUF file: the architecture's sizes and rules, the tokenizer, where the model came from.
What llama.cpp can't do as the model does it is refused here."""

import json

import gguf

from shoestring.errors import BadInput
from shoestring.lm import LanguageModel
from shoestring.models.config import ModelConfig
from shoestring.models.config_file import FAMILIES
from shoestring.models.gguf_deepseek import ARCHITECTURE, YARN_LOG
from shoestring.origin import LINEAGE_KEY
from shoestring.provenance.naming import card_lines, duties_of
from shoestring.provenance.reach import term_of_model
from shoestring.text.gguf_vocab_write import gguf_vocabulary

TERMS_KEY = "shoestring.terms"  # what holds for training others on the model's outputs


def architecture(config: ModelConfig) -> str:
    """llama.cpp's name. Raises BadInput where it has no architecture that computes as this model does."""
    faults = _latent_faults(config) if config.model_type not in FAMILIES else _dense_faults(config)
    if faults:
        raise BadInput(
            f"this {config.model_type} can't be a GGUF file: llama.cpp has no {faults[0]}; write --format hf"
        )
    return config.model_type if config.model_type in FAMILIES else ARCHITECTURE


def _dense_faults(config: ModelConfig) -> list[str]:
    scaling, kind = config.rope_scaling, config.model_type
    found = []
    if scaling and scaling.rope_type == "llama3" and kind != "llama":
        found.append(f"Llama 3's rope scaling in the {kind} architecture")
    if scaling and (scaling.attention_factor or scaling.mscale or scaling.mscale_all_dim):
        found.append("attention factor of one's own with YaRN")
    return found


def _latent_faults(config: ModelConfig) -> list[str]:
    scaling, found = config.rope_scaling, []
    if not config.is_mla:
        found.append("plain attention in the deepseek2 architecture")
    if config.attention_bias or config.attention_output_bias or config.mlp_bias:
        found.append("biases in the deepseek2 architecture")
    if config.n_routed_experts and config.moe_layer_freq != 1:
        found.append(f"mixture in every {config.moe_layer_freq}th layer (moe_layer_freq)")
    if config.n_routed_experts and not config.n_shared_experts:
        found.append("mixture without a shared expert in the deepseek2 architecture")
    if config.topk_method == "group_limited_greedy" and config.n_group > 1:
        found.append("groups ranked by their best expert alone (topk_method group_limited_greedy)")
    if scaling and scaling.rope_type != "yarn":
        found.append(f"{scaling.rope_type} rope scaling in the deepseek2 architecture")
    elif scaling and (not scaling.mscale_all_dim or scaling.mscale != scaling.mscale_all_dim):
        found.append("YaRN with latent attention whose mscale and mscale_all_dim differ or aren't given")
    elif scaling and scaling.attention_factor:
        found.append("attention factor of one's own with YaRN")
    return found


def add_fields(writer: gguf.GGUFWriter, lm: LanguageModel) -> list[str]:
    """All of it; returns what couldn't be said, in words."""
    config = lm.config
    _add_origin(writer, lm)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(config.rope_theta)
    _add_rope_scaling(writer, config)
    if config.is_mla:
        _add_latent(writer, config)
        _add_experts(writer, config)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_rope_dimension_count(config.head_dim)
    return _add_tokenizer(writer, lm)


def _add_origin(writer: gguf.GGUFWriter, lm: LanguageModel) -> None:
    """Name, licence, lineage and terms; what must be shown is the description, which readers show."""
    writer.add_name(lm.name)
    writer.add_license(lm.lineage.licence)
    writer.add_description(" ".join(card_lines(duties_of(lm.lineage))))
    writer.add_string(LINEAGE_KEY, json.dumps(lm.lineage.to_json(), ensure_ascii=False))
    writer.add_string(TERMS_KEY, term_of_model(lm.lineage, lm.name).cited())


def _add_rope_scaling(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    """Llama 3's is a tensor of its own."""
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type == "llama3":
        return
    yarn = scaling.rope_type == "yarn"
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN if yarn else gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(scaling.factor)
    if not yarn:
        return
    writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)
    writer.add_rope_scaling_yarn_beta_fast(scaling.beta_fast)
    writer.add_rope_scaling_yarn_beta_slow(scaling.beta_slow)
    if config.is_mla:
        writer.add_rope_scaling_yarn_log_mul(YARN_LOG * scaling.mscale_all_dim)


def _add_latent(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    """llama.cpp runs it as attention with one key head, the latent and the turned key; the keys ending in
    _mla are the widths of a whole head."""
    assert config.kv_lora_rank is not None
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(config.q_lora_rank or 0)  # 0: none; only some layer counts may leave the key out
    writer.add_kv_lora_rank(config.kv_lora_rank)
    writer.add_key_length(config.kv_lora_rank + config.qk_rope_head_dim)
    writer.add_value_length(config.kv_lora_rank)
    writer.add_key_length_mla(config.head_dim)
    writer.add_value_length_mla(config.v_head_dim)
    writer.add_rope_dimension_count(config.qk_rope_head_dim)


def _add_experts(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    """The keys are wanted where no layer is a mixture too."""
    if not config.n_routed_experts:
        writer.add_leading_dense_block_count(config.num_hidden_layers)
        writer.add_expert_feed_forward_length(config.intermediate_size)
        writer.add_expert_shared_count(0)
        return
    kinds = gguf.ExpertGatingFuncType
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(config.norm_topk_prob)
    writer.add_expert_gating_func(kinds.SIGMOID if config.scoring_func == "sigmoid" else kinds.SOFTMAX)
    if config.n_group > 1 and config.topk_method != "greedy":
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)


def _add_tokenizer(writer: gguf.GGUFWriter, lm: LanguageModel) -> list[str]:
    tokenizer, config = lm.tokenizer, lm.config
    vocabulary = gguf_vocabulary(tokenizer, config.vocab_size)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_prefix)
    named = tokenizer.special
    bos = tokenizer.token_id(named.bos) if named.bos else config.bos_token_id
    unknown = tokenizer.token_id(named.unk) if named.unk else None
    if bos is not None:
        writer.add_bos_token_id(bos)
    if unknown is not None:
        writer.add_unk_token_id(unknown)
    writer.add_pad_token_id(tokenizer.pad_id)
    writer.add_add_bos_token(bool(tokenizer.opening_ids))
    ends = lm.template.stop_ids or config.eos_token_id
    for add, end in zip((writer.add_eos_token_id, writer.add_eot_token_id), ends, strict=False):
        add(end)
    if lm.template.source:
        writer.add_chat_template(lm.template.source)
    spelled = ", ".join(repr(tokenizer.decode([end])) for end in ends[2:])
    return [f"a GGUF file has room for two tokens that end a turn; left out: {spelled}"] if spelled else []
