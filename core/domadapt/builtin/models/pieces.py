"""SentencePiece models as tokenizers: a `tokenizer.model` that nothing else describes (Llama-2's as Meta published it).

What is made is the pipeline of `tokenizers` that model families publish themselves as `tokenizer.json`, so that
tokenising, training, merging and evaluation all read the same ids. Whether they are SentencePiece's own is compared
when the model is loaded, on hostile strings: a model whose pieces come out otherwise is refused, not approximated.
transformers' own reading of a bare model (5.23) forgets the space before a text and joins spaces otherwise.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from domadapt.errors import DataError

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Kinds of pieces (sentencepiece_model.proto)."""
BPE, UNIGRAM = 2, 1
"""Kinds of models."""
NEVER = 1000.0
"""A control piece's score in a unigram model is so much below the least: a text may spell it, never mean it."""


def load_pieces(file: Path) -> Any:
    """A fast tokenizer of transformers with the ids of a SentencePiece model.

    Raises DataError for a file that is none, and for a model that `tokenizers` cannot reproduce.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import PreTrainedTokenizerFast

    decode_error: type[Exception] = import_module("google.protobuf.message").DecodeError
    proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
        reference = SentencePieceProcessor(model_file=str(file))
    except (decode_error, OSError, RuntimeError) as error:
        raise DataError(f"{file}: neither a SentencePiece model nor a rank file; the file is damaged") from error
    made = _pipeline(proto)
    if differing := _differing(made, reference, proto):
        raise DataError(
            f"{file}: tokenizers gives other ids than SentencePiece for {differing[0][:40]!r} "
            f"({len(differing)} of the strings tried); put the model's tokenizer.json beside the file"
        )
    named = {"unk_token": reference.unk_id(), "bos_token": reference.bos_id(), "eos_token": reference.eos_id()}
    named["pad_token"] = reference.pad_id()
    settings = {key: reference.id_to_piece(number) for key, number in named.items() if number >= 0}
    return PreTrainedTokenizerFast(tokenizer_object=made, **settings)


def _pipeline(proto: Any) -> Any:
    """Normalizer, model and decoder of `tokenizers` for a SentencePiece model."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers

    made = Tokenizer(_model(proto))
    spec = proto.normalizer_spec
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    back: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*back, *([decoders.Strip(" ", 1, 0)] if spec.add_dummy_prefix else [])])
    control = [piece.piece for piece in proto.pieces if piece.type in (CONTROL, UNKNOWN)]
    made.add_special_tokens([AddedToken(name, normalized=False) for name in control])
    return made


def _model(proto: Any) -> Any:
    from tokenizers import models
    from transformers.convert_slow_tokenizer import generate_merges

    spec, pieces = proto.trainer_spec, proto.pieces
    if spec.model_type == UNIGRAM:
        never = min(piece.score for piece in pieces) - NEVER
        scores = [(p.piece, never if p.type in (CONTROL, UNKNOWN) else p.score) for p in pieces]
        return models.Unigram(scores, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback)
    if spec.model_type != BPE:
        raise DataError("a SentencePiece model of words or characters; models that train on have BPE or unigram pieces")
    vocabulary = {piece.piece: number for number, piece in enumerate(pieces)}
    apart = {piece.piece for piece in pieces if piece.type != NORMAL}
    merges = generate_merges(vocabulary, {piece.piece: piece.score for piece in pieces}, apart)
    return models.BPE(vocabulary, merges, unk_token=spec.unk_piece, fuse_unk=True, byte_fallback=spec.byte_fallback)


def _differing(made: Any, reference: Any, proto: Any) -> list[str]:
    """Strings that come out otherwise, of the hostile ones and one around each piece that is no ordinary one."""
    from domadapt.builtin.tokens.encoding import HOSTILE

    apart = [p.piece for p in proto.pieces if p.type not in (NORMAL, BYTE)][:50]
    texts = [*HOSTILE, *(f"one {piece} two{piece}" for piece in apart)]
    asked, made.encode_special_tokens = made.encode_special_tokens, True
    rows = [one.ids for one in made.encode_batch_fast(texts, add_special_tokens=False)]
    made.encode_special_tokens = asked
    wanted: list[list[int]] = reference.encode(texts)
    return [text for text, ids, theirs in zip(texts, rows, wanted, strict=True) if ids != theirs]
