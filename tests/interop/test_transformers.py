"""Models of the `transformers` package, built from small configurations, changed and changed back."""

import pytest
import torch
from torch import nn

import torchdropout as td

transformers = pytest.importorskip("transformers")
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def bert():
    config = transformers.BertConfig(vocab_size=31, max_position_embeddings=16, num_labels=3, **SMALL)
    return transformers.BertForSequenceClassification(config), {"input_ids": torch.randint(0, 31, (2, 7))}


def gpt2():
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    return transformers.GPT2LMHeadModel(config), {"input_ids": torch.randint(0, 31, (2, 7))}


def vit():
    rates = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}  # none by default
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_labels=3, **rates, **SMALL)
    return transformers.ViTForImageClassification(config), {"pixel_values": torch.randn(2, 3, 8, 8)}


def built(make):
    torch.manual_seed(0)
    model, inputs = make()
    return model.eval(), inputs


@pytest.mark.parametrize("make", [bert, gpt2, vit])
def test_inserted_noise_keeps_eval_to_the_bit_and_is_undone(make):
    model, inputs = built(make)
    keys = list(model.state_dict())
    with torch.no_grad():
        expected = model(**inputs).logits
    names = td.insert_after_(model, nn.LayerNorm, lambda m, name: td.Dropout(0.3), example_inputs=inputs)
    assert len(names) >= 4
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, expected)
    assert list(model.state_dict()) == keys
    model.train()
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)
    td.revert_(model.eval())
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("make", [bert, gpt2, vit])
def test_dropout_is_replaced_by_another_method_at_its_rates(make):
    model, inputs = built(make)
    rates = {name: module.p for name, module in model.named_modules() if type(module) is nn.Dropout}
    assert rates
    names = td.replace_(model, {nn.Dropout: lambda m, name: td.GaussianDropout(m.p)})
    assert {name: model.get_submodule(name).p for name in names} == rates
    model.train()
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)


def test_linear_layers_become_dropconnect_and_ties_hold():
    model, inputs = built(bert)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.no_grad():
        expected = model(**inputs).logits
    convert = {nn.Linear: lambda m, name: td.DropConnectLinear.from_linear(m, p=0.2, inference="scale")}
    names = td.replace_(model, convert, optimizer=optimizer)
    assert (
        len(names) == len([name for name in names if isinstance(model.get_submodule(name), td.DropConnectLinear)]) > 10
    )
    model.train()(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    td.revert_(model.eval())
    with torch.no_grad():
        assert not torch.equal(model(**inputs).logits, expected)  # the step was taken by the same parameters
    tied, _ = built(gpt2)
    td.replace_(tied, {"lm_head": lambda m, name: td.DropConnectLinear.from_linear(m, p=0.2)})
    assert tied.lm_head.weight is tied.transformer.wte.weight


def test_linear_layers_are_mixed_with_the_pre_trained_ones_and_come_back():
    model, inputs = built(bert)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    names = td.replace_(
        model, {lambda m, name: isinstance(m, nn.Linear) and name != "classifier": _mixed}, optimizer=optimizer
    )
    assert len(names) > 10
    assert "classifier" not in names
    starts = {name: model.get_submodule(name).target.clone() for name in names}
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    layer = model.get_submodule(names[0])
    assert torch.equal(layer.target, starts[names[0]])
    assert not torch.equal(layer.weight, layer.target)
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
        td.revert_(model)
        assert torch.equal(model(**inputs).logits, expected)
    assert not any(isinstance(module, td.MixoutLinear) for module in model.modules())


def _mixed(module, name):
    return td.MixoutLinear.from_linear(module, p=0.8)


@pytest.mark.parametrize("make", [bert, gpt2, vit])
def test_sources_are_listed_attention_functions_included(make):
    model, inputs = built(make)
    modules = [source for source in td.noise_sources(model) if source.kind == "module"]
    assert len(modules) == len([module for module in model.modules() if isinstance(module, nn.Dropout)])
    found = td.noise_sources(model, inputs)
    attention = [source for source in found if source.kind == "function" and source.rate]
    assert len(attention) == 2
    assert all("attention" in source.what or source.what == "dropout" for source in attention)
