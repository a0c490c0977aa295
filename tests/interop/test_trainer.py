"""Mixins for Hugging Face's Trainer: real trainings equal loops written by hand, with accumulation, padding, shifts."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import SequentialSampler

import torchdropout as td

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from torchdropout.integrations.transformers import KLLossMixin, RDropMixin  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BERT = transformers.BertConfig(vocab_size=31, max_position_embeddings=16, num_labels=3, **SMALL)
LLAMA = transformers.LlamaConfig(
    vocab_size=31, max_position_embeddings=16, num_labels=3, num_key_value_heads=2, attention_dropout=0.4,
    pad_token_id=0, **SMALL,
)  # fmt: skip
SIZE, BATCH, ACCUMULATE, EPOCHS = 11, 3, 2, 2  # steps of 3 + 3 and of 3 + 2 examples


class InOrder:
    """Takes the examples in their order."""

    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)


class RDropTrainer(InOrder, RDropMixin, transformers.Trainer):
    pass


class KLTrainer(InOrder, KLLossMixin, transformers.Trainer):
    pass


class BothTrainer(InOrder, KLLossMixin, RDropMixin, transformers.Trainer):
    pass


def numbered(model):
    """The model, whose noise is that of its own count of calls in training, so that nothing else that draws matters."""
    plain = type(model).forward

    class Numbered(type(model)):
        @functools.wraps(plain)
        def forward(self, *args, **kwargs):
            self.calls = getattr(self, "calls", 0) + self.training
            with td.keyed(self.calls):
                return plain(self, *args, **kwargs)

    Numbered.__name__ = type(model).__name__
    model.__class__ = Numbered
    return model


def made(cls, config):
    torch.manual_seed(0)
    return cls(config)


def examples(tokens=False, size=SIZE):
    """Rows of words; a label each, or one a word, of which some are padding."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for number in range(size):
        words = torch.randint(1, 31, (7,), generator=generator)
        real = torch.arange(7) < 3 + number % 5
        words = torch.where(real, words, 0)
        labels = torch.where(real, words, -100) if tokens else torch.randint(3, (), generator=generator)
        rows.append({"input_ids": words, "attention_mask": real.long(), "labels": labels})
    return rows


def stacked(rows):
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def trainer(base, model, tmp_path, rows=None, **options):
    settings = {"num_train_epochs": EPOCHS, "gradient_accumulation_steps": ACCUMULATE, "save_strategy": "no"}
    ours = {name: options.pop(name) for name in ("alpha", "num_data", "kl_warmup") if name in options}
    args = transformers.TrainingArguments(
        output_dir=tmp_path, per_device_train_batch_size=BATCH, max_grad_norm=0.0, report_to=[], use_cpu=True,
        disable_tqdm=True, **(settings | options),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return base(model, args, train_dataset=rows or examples(), optimizers=(optimizer, constant), **ours)


def by_hand(model, loss_of, rows=None, count=lambda batch: len(batch["labels"])):
    """A loop; `loss_of(model, batch, share, batches)` is a batch's part of the loss of a step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rows = rows or examples()
    batches = [stacked(rows[at : at + BATCH]) for at in range(0, len(rows), BATCH)]
    model.train()
    for _ in range(EPOCHS):
        for at in range(0, len(batches), ACCUMULATE):
            step = batches[at : at + ACCUMULATE]
            labels = sum(map(count, step))
            for batch in step:
                loss_of(model, batch, count(batch) / labels, len(step)).backward()
            optimizer.step()
            optimizer.zero_grad()
    return model


def twice(model, batch):
    """The logits of two passes over a batch, as one batch."""
    doubled = {name: torch.cat([x, x]) for name, x in batch.items() if name != "labels"}
    return model(**doubled).logits.chunk(2)


def assert_same(one, other):
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6, msg=name)


CLASSIFIERS = [
    (transformers.BertForSequenceClassification, BERT),
    (transformers.LlamaForSequenceClassification, LLAMA),
]


@pytest.mark.parametrize(("cls", "config"), CLASSIFIERS)
def test_r_drop_trains_as_a_loop_by_hand(tmp_path, cls, config):
    model = numbered(made(cls, config))
    other = copy.deepcopy(model)
    trainer(RDropTrainer, model, tmp_path, alpha=2.0).train()

    def loss_of(model, batch, share, _):
        return td.RDropLoss(2.0)(*twice(model, batch), batch["labels"]) * share

    assert_same(model, by_hand(other, loss_of))
    assert not torch.allclose(model.get_input_embeddings().weight, made(cls, config).get_input_embeddings().weight)


def test_evaluation_is_the_plain_loss(tmp_path):
    model = numbered(made(*CLASSIFIERS[0]))
    for base, options in ((RDropTrainer, {"alpha": 5.0}), (KLTrainer, {"num_data": 1.0})):
        found = trainer(base, model, tmp_path, per_device_eval_batch_size=SIZE, **options).evaluate(examples())
        batch = stacked(examples())
        with torch.no_grad():
            expected = F.cross_entropy(
                model.eval()(batch["input_ids"], batch["attention_mask"]).logits, batch["labels"]
            )
        assert found["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


CAUSAL = [
    (transformers.LlamaForCausalLM, LLAMA),
    (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=16, n_layer=1, n_head=2),
    ),
]


@pytest.mark.parametrize(("cls", "config"), CAUSAL)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_language_models_labels_are_shifted_and_padding_is_left_out(tmp_path, cls, config, smoothing):
    model = numbered(made(cls, config))
    of = trainer(RDropTrainer, model, tmp_path, alpha=3.0, label_smoothing_factor=smoothing)
    batch = stacked(examples(tokens=True, size=4))
    count = int((batch["labels"][:, 1:] != -100).sum())
    other = copy.deepcopy(model).train()
    first, second = twice(other, batch)
    loss = td.RDropLoss(3.0, label_smoothing=smoothing)
    expected = loss(first[:, :-1], second[:, :-1], batch["labels"][:, 1:])
    torch.testing.assert_close(
        of.compute_loss(model.train(), dict(batch), num_items_in_batch=torch.tensor(count)), expected
    )
    model.calls = 0
    half = of.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(2 * count))
    torch.testing.assert_close(half, expected / 2)
    model.calls = 0
    shifted = F.pad(batch["labels"], (0, 1), value=-100)[:, 1:]
    given = {name: x for name, x in batch.items() if name != "labels"} | {"shift_labels": shifted}
    torch.testing.assert_close(of.compute_loss(model, given, num_items_in_batch=torch.tensor(count)), expected)


def test_labels_of_words_without_a_shift_and_of_a_decoder(tmp_path):
    batch = stacked(examples(tokens=True, size=4))
    labels = torch.where(batch["labels"] == -100, -100, batch["labels"] % 3)
    count = (labels != -100).sum()
    tagging = numbered(made(transformers.BertForTokenClassification, BERT))
    config = transformers.T5Config(
        vocab_size=31,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        dropout_rate=0.3,
    )
    writing = numbered(made(transformers.T5ForConditionalGeneration, config))
    for model, given in ((tagging, batch | {"labels": labels}), (writing, batch)):
        of = trainer(RDropTrainer, model, tmp_path, alpha=1.0)
        other = copy.deepcopy(model).train()
        keep = {} if model is tagging else {"labels": torch.cat([given["labels"]] * 2)}
        doubled = {name: torch.cat([x, x]) for name, x in given.items() if name != "labels"} | keep
        expected = td.RDropLoss(1.0)(*other(**doubled).logits.chunk(2), given["labels"])
        found = of.compute_loss(model.train(), dict(given), num_items_in_batch=count)
        torch.testing.assert_close(found, expected)


def test_noise_that_is_drawn_once_for_a_batch_gets_two_passes(tmp_path):
    model = made(*CLASSIFIERS[0])
    mixed = {nn.Linear: lambda module, name: td.MixoutLinear.from_linear(module, p=0.5)}
    td.replace_(model, mixed)
    for layer in model.modules():
        if isinstance(layer, td.MixoutLinear):
            layer.target.zero_()
    of, batch, calls = trainer(RDropTrainer, model, tmp_path), stacked(examples()), []
    model.bert.register_forward_hook(lambda module, args, output: calls.append(len(output[0])))
    of.compute_loss(model.train(), batch, num_items_in_batch=torch.tensor(SIZE))
    assert calls == [SIZE, SIZE]


def variational(cls, config):
    """A model with a prior on its head, and dropout elsewhere."""
    model = made(cls, config)
    td.replace_(model, {"lm_head": lambda module, name: td.VariationalLinear.from_linear(module)})
    return numbered(model)


def test_the_divergence_is_added_once_a_step_where_the_trainer_counts_labels(tmp_path):
    """A language model's loss is a sum over its words, divided by those of the step."""
    model, rows = variational(*CAUSAL[0]), examples(tokens=True)
    other = copy.deepcopy(model)
    trainer(KLTrainer, model, tmp_path, rows, num_data=40).train()

    def loss_of(model, batch, share, batches):
        logits = model(batch["input_ids"], batch["attention_mask"]).logits[:, :-1]
        mean = F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
        return mean * share + td.kl_loss(model, 40) / batches

    assert_same(model, by_hand(other, loss_of, rows, lambda batch: int((batch["labels"][:, 1:] != -100).sum())))


class Plain(nn.Module):
    """No model of the package: a mean loss of its own, and no arguments for counts of labels."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(31, 8), td.VariationalLinear(8, 3)

    def forward(self, input_ids, labels=None):
        logits = self.head(self.words(input_ids).mean(1))
        return ({} if labels is None else {"loss": F.cross_entropy(logits, labels)}) | {"logits": logits}


def plain_rows(size=SIZE):
    return [{name: row[name] for name in ("input_ids", "labels")} for row in examples(size=size)]


@pytest.mark.parametrize("both", [False, True])
def test_the_divergence_is_added_once_a_step_where_the_trainer_divides(tmp_path, both):
    torch.manual_seed(0)
    model = numbered(Plain())
    other = copy.deepcopy(model)
    base, options = (BothTrainer, {"alpha": 2.0}) if both else (KLTrainer, {})
    trainer(base, model, tmp_path, plain_rows(), num_data=SIZE, **options).train()

    def loss_of(model, batch, _, batches):
        kl = td.kl_loss(model, SIZE)
        if not both:
            return (model(**batch)["loss"] + kl) / batches
        first, second = model(torch.cat([batch["input_ids"]] * 2))["logits"].chunk(2)
        return (td.RDropLoss(2.0)(first, second, batch["labels"]) + 2 * td.kl_loss(model, SIZE)) / batches

    assert_same(model, by_hand(other, loss_of, plain_rows()))


def test_the_divergences_weight_grows_and_a_checkpoint_resumes_it(tmp_path):
    weights = []

    class Noting(KLTrainer):
        def _kl_weight(self):
            weights.append(super()._kl_weight())
            return weights[-1]

    def run(folder, **options):
        torch.manual_seed(0)
        model, settings = numbered(Plain()), {"gradient_accumulation_steps": 1, "num_train_epochs": 2} | options
        of = trainer(Noting, model, tmp_path / folder, plain_rows(12), num_data=12, kl_warmup=0.5, **settings)
        return model, of

    whole, of = run("whole", save_strategy="steps", save_steps=2)
    of.train()
    expected = [step / 4 for step in range(4)] + [1.0] * 4
    assert weights == expected
    weights.clear()
    rest, of = run("rest")
    rest.calls = 2
    of.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert weights == expected[2:]
    assert_same(rest, whole)


def test_the_order_of_both_is_checked():
    with pytest.raises(TypeError, match="Wrong: KLLossMixin must come before RDropMixin, got it after"):

        class Wrong(RDropMixin, KLLossMixin, transformers.Trainer):
            pass


def regression():
    return made(
        transformers.BertForSequenceClassification, transformers.BertConfig(**(BERT.to_dict() | {"num_labels": 1}))
    )


class Named(nn.Module):
    def __init__(self, **outputs):
        super().__init__()
        self.weight, self.outputs = nn.Parameter(torch.zeros(())), outputs

    def forward(self, input_ids):
        return transformers.utils.ModelOutput(**self.outputs)


NO_LABELS = {"input_ids": torch.ones(2, 7, dtype=torch.int64)}
LABELS = NO_LABELS | {"labels": torch.tensor([0, 1])}
ZEROS = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (lambda: made(*CLASSIFIERS[0]), NO_LABELS, "the inputs must have `labels`, got input_ids"),
        (lambda: made(*CLASSIFIERS[0]), NO_LABELS | {"labels": torch.zeros(2)}, "must be class numbers, got torch.fl"),
        (regression, LABELS, "the model must tell classes apart, got one logit"),
        (lambda: Named(start_logits=ZEROS, end_logits=ZEROS), LABELS, "must have `logits`, got start_logits, end_log"),
        (lambda: Named(logits=ZEROS, aux_loss=ZEROS.sum()), LABELS, "must have no auxiliary loss"),
        (lambda: Named(logits=torch.zeros(4, 7, 3)), LABELS, "the logits must be of the labels' shape and classes"),
    ],
)
def test_what_r_drop_cannot_do_is_refused_in_one_sentence(tmp_path, model, inputs, message):
    of = trainer(RDropTrainer, model(), tmp_path)
    with pytest.raises(ValueError, match=f"^RDropMixin: .*{message}"):
        of.compute_loss(of.model.train(), dict(inputs), num_items_in_batch=torch.tensor(2))


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (RDropTrainer, {"alpha": -1.0}, "RDropMixin: `alpha` must be finite and not negative, got -1.0"),
        (KLTrainer, {"num_data": 0}, "KLLossMixin: `num_data` must be positive and finite, got 0"),
        (KLTrainer, {"num_data": 9, "kl_warmup": 2.0}, r"KLLossMixin: `kl_warmup` must be in \[0, 1\], got 2.0"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(tmp_path, base, options, message):
    with pytest.raises(ValueError, match=message):
        trainer(base, Plain(), tmp_path, **options)


def test_another_loss_is_refused(tmp_path):
    args = transformers.TrainingArguments(output_dir=tmp_path, use_cpu=True, report_to=[])
    with pytest.raises(ValueError, match="RDropMixin: `compute_loss_func` must be None"):
        RDropTrainer(Plain(), args, compute_loss_func=lambda *_, **__: 0.0)
