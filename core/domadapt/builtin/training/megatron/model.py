"""Megatron-Core's GPT for a Llama config: configuration, layer specification, attention, rotary frequencies.

With Transformer Engine the layers are its own; without, Megatron's local ones with torch's scaled dot product, whose
memory does not grow with the square of the length. Rotary frequencies come from transformers, so that every kind of
scaling is the one the model was trained with. Positions do not restart with each document: the embedding is
relative, and where documents are masked from each other only differences within one count.

Tensor-parallel ranks also share the sequence between their matrix products (sequence parallelism, Korthikanti et al.
2022, arXiv 2205.05198, section 4.2.2): no rank keeps what another keeps too, and `adapt plan` counts on it.
"""

from __future__ import annotations

import importlib.util
from typing import Any, cast

import torch
from megatron.core import parallel_state
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build

from domadapt.builtin.training.megatron.layout import Layout, head_dim


def has_transformer_engine() -> bool:
    """Whether Transformer Engine's layers can be used: it is installed, and there is a GPU for it."""
    return torch.cuda.is_available() and importlib.util.find_spec("transformer_engine") is not None


class ScaledDotProductAttention(MegatronModule):  # type: ignore[misc]
    """Megatron's core attention by torch's kernels; causal, or with a mask (True: may not be seen)."""

    def __init__(self, config: TransformerConfig, *_: Any, softmax_scale: float | None = None, **__: Any) -> None:
        super().__init__(config=config)
        self.scale = softmax_scale

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **_: Any,
    ) -> torch.Tensor:
        """query, key, value: [length, batch, heads, head_dim].  Returns [length, batch, heads * head_dim]."""
        q, k, v = (tensor.permute(1, 2, 0, 3) for tensor in (query, key, value))
        seen = None if attention_mask is None else ~attention_mask
        out = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, is_causal=seen is None, scale=self.scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        return cast(torch.Tensor, out.permute(2, 0, 1, 3).reshape(out.shape[2], out.shape[0], -1))


class LocalNorm(torch.nn.RMSNorm):  # type: ignore[misc]
    """RMSNorm that tells Megatron whether its ranks see different positions: their gradients are then to be summed.

    Megatron's own wrapper of torch's norm refuses sequence parallelism for the want of this mark.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__(hidden_size, eps=eps)
        self.weight.sequence_parallel = config.sequence_parallel


class TransformersRotary(RotaryEmbedding):  # type: ignore[misc]
    """Rotary embedding with the frequencies of transformers' own module, on the model's device."""

    def __init__(self, hf_config: Any, device: torch.device) -> None:
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        super().__init__(head_dim(hf_config), rotary_percent=1.0, use_cpu_initialization=True)
        theirs = LlamaRotaryEmbedding(hf_config)
        assert theirs.attention_scaling == 1.0
        self.inv_freq = theirs.inv_freq.detach().to(device, torch.float32, copy=True)

    def get_emb(self, max_seq_len: int, offset: int = 0) -> torch.Tensor:
        """Angles of positions offset .. offset + max_seq_len - 1, float32 [length, 1, 1, head_dim]."""
        angles = self.get_freqs_non_repeated(max_seq_len, offset)
        return torch.cat((angles, angles), dim=-1)[:, None, None, :]


class Llama(GPTModel):  # type: ignore[misc]
    """Megatron's GPT whose padded vocabulary takes no part in the softmax, as it has none in Hugging Face's model."""

    hf_config: Any

    def compute_language_model_loss(self, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each label in nats, [batch, length]."""
        rank, rows = parallel_state.get_tensor_model_parallel_rank(), logits.shape[-1]
        real = min(max(self.hf_config.vocab_size - rank * rows, 0), rows)
        if real < rows:
            logits[..., real:] = float("-inf")
        return cast(torch.Tensor, super().compute_language_model_loss(labels, logits))


def transformer_config(
    hf_config: Any, layout: Layout, dtype: torch.dtype, *, recompute: bool = False, sequence_parallel: bool = False
) -> TransformerConfig:
    """Megatron's configuration of a Llama model in one precision.

    recompute: activations of each layer in the backward pass.  sequence_parallel: whether tensor-parallel ranks share
    the positions of a window where they do not share a matrix.
    """
    recomputing: dict[str, Any] = {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    }
    return TransformerConfig(
        num_layers=hf_config.num_hidden_layers,
        hidden_size=hf_config.hidden_size,
        ffn_hidden_size=hf_config.intermediate_size,
        num_attention_heads=hf_config.num_attention_heads,
        num_query_groups=hf_config.num_key_value_heads,
        kv_channels=head_dim(hf_config),
        normalization="RMSNorm",
        layernorm_epsilon=hf_config.rms_norm_eps,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=layout.tensor,
        pipeline_model_parallel_size=layout.pipeline,
        sequence_parallel=sequence_parallel,
        use_cpu_initialization=not torch.cuda.is_available(),
        # without it weights lose the mark of tensor-parallel ones, and the gradient norm counts half of them
        perform_initialization=True,
        # gradients are sums over tokens, divided once by the number of targets in the global batch
        calculate_per_token_loss=True,
        gradient_accumulation_fusion=False,
        masked_softmax_fusion=False,
        bias_dropout_fusion=False,
        bias_activation_fusion=False,
        apply_rope_fusion=False,
        batch_p2p_sync=False,
        cuda_graph_scope=[],
        **(recomputing if recompute else {}),
    )


def _specification(config: TransformerConfig, *, document_mask: bool) -> Any:
    """What the layers of this pipeline stage are made of, and the last norm."""
    engine = has_transformer_engine()
    layer = (
        get_gpt_layer_with_transformer_engine_spec() if engine else get_gpt_layer_local_spec(normalization="RMSNorm")
    )
    if document_mask or not engine:
        layer.submodules.self_attention.submodules.core_attention = ScaledDotProductAttention
    if engine:
        return layer
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = LocalNorm
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(config), layer_norm=LocalNorm)


def build_model(
    hf_config: Any,
    layout: Layout,
    dtype: torch.dtype,
    seq_len: int,
    device: torch.device,
    *,
    document_mask: bool = False,
    recompute: bool = False,
) -> Llama:
    """This rank's part of the model, with weights still to be loaded."""
    config = transformer_config(
        hf_config, layout, dtype, recompute=recompute, sequence_parallel=layout.shares_sequence(seq_len)
    )
    model = Llama(
        config=config,
        transformer_layer_spec=_specification(config, document_mask=document_mask),
        vocab_size=layout.padded_vocabulary(hf_config.vocab_size),
        max_sequence_length=seq_len,
        position_embedding_type="rope",
        share_embeddings_and_output_weights=hf_config.tie_word_embeddings,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
    )
    model.hf_config = hf_config
    model.rotary_pos_emb = TransformersRotary(hf_config, device)
    return cast(Llama, model.to(device))
