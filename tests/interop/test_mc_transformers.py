"""Monte-Carlo predictions of `transformers` models, by either way of attention."""

import pytest
import torch
from torch import nn

import torchdropout as td

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
RATES = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}


def bert():
    config = transformers.BertConfig(vocab_size=31, max_position_embeddings=16, num_labels=3, **SMALL, **RATES)
    return transformers.BertForSequenceClassification(config), {"input_ids": torch.randint(0, 31, (4, 7))}


def gpt2():
    rates = {"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3, "bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=16, n_layer=2, n_head=2, **rates)
    return transformers.GPT2LMHeadModel(config), {"input_ids": torch.randint(0, 31, (4, 7))}


def vit():
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_labels=3, **RATES, **SMALL)
    return transformers.ViTForImageClassification(config), {"pixel_values": torch.randn(4, 3, 8, 8)}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("make", [bert, gpt2, vit])
def test_noise_is_live_in_every_layer_and_its_law_is_that_of_train_mode(make, attention):
    torch.manual_seed(0)
    model, inputs = make()
    model.set_attn_implementation(attention)
    found = td.mc_predict(model, inputs, 400, "values", 1, "logits")
    assert (found.std > 0).all()
    assert sum("attention" in name or "attn" in name for name in found.sources) >= 2
    assert not any("was not called" in name for name in found.sources)
    with torch.no_grad():
        passes = torch.stack([model.train()(**inputs).logits for _ in range(400)])
    both = ((found.variance + passes.var(0)) / 400).sqrt()
    assert ((found.mean - passes.mean(0)).abs() < 5.5 * both).all()  # of up to 868 outputs
    assert abs(float(found.std.mean() / passes.std(0).mean()) - 1) < 0.1


@pytest.mark.parametrize("make", [bert, vit])
def test_with_our_layers_the_noise_outside_of_attention_is_ours(make):
    torch.manual_seed(0)
    model, inputs = make()
    td.replace_(model, {nn.Dropout: lambda module, name: td.Dropout(module.p)})
    found = td.mc_predict(model, inputs, 10, "values", 1, "logits")
    assert all(name.startswith("scaled_dot_product_attention") for name in found.foreign)
    model.set_attn_implementation("eager")
    eager = td.mc_predict(model, inputs, 10, "values", 1, "logits")
    assert not any(name.startswith("scaled") for name in eager.foreign)


def test_a_model_without_noise_says_so():
    config = transformers.BertConfig(
        vocab_size=31, max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **SMALL
    )
    model = transformers.BertForSequenceClassification(config)
    with pytest.raises(ValueError, match="no source of noise is live.*bert.embeddings.dropout .Dropout: its rate is 0"):
        td.mc_predict(model, {"input_ids": torch.randint(0, 31, (4, 7))}, select="logits")


def test_a_loader_of_tokenised_batches():
    torch.manual_seed(0)
    model, inputs = bert()
    batches = [{name: value[i : i + 2] for name, value in inputs.items()} for i in (0, 2)]
    found = td.mc_predict_loader(model, batches, 20, key=0, select="logits")
    assert found.mean.shape == (4, 3)
    assert (found.mutual_information > 0).all()
