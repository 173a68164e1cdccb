# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
params = "params.yaml"
results = "results/digits"
published = "reports/published.csv"
notes = "reports/notes.csv"
ledger = "reports/fidelity.csv"
measurements = "benchmarks/results"
out = "reports/digits"
redraw = "dvc repro report"

# %%
from pathlib import Path

from pipeline.params import load_params
from pipeline.reporting import caveats, claims, context, speed, summary, tables
from pipeline.reporting.figures import accuracy, feature_maps, style, weights
from pipeline.reporting.loading import load_results
from pipeline.reporting.page import Page
from pipeline.reporting.sources import Choice, FileNote, PublishedFigure, read_lines

run = load_results(Path(results))
figures_of_others = read_lines(Path(published), PublishedFigure)
known_files = read_lines(Path(notes), FileNote)
measured = speed.read_measurements(Path(measurements))
classes = context.class_names(run, known_files)
page = Page(Path(out), redraw, debug=bool(caveats.debugged(run)))
style.use_style()

# %%
page.title(f"BD-BNN on {context.data_name(run, known_files)}, {context.seeds(run)}")
page.text(context.data_size(run))
page.banner(caveats.debug_banner(run))

# %%
verdicts = claims.verdicts(run, context.data_name(run, known_files), figures_of_others)
if verdicts:
    page.table(
        "verdict",
        claims.verdict_table(verdicts),
        "What came out for each claim of the paper: it holds, does not hold or is undecided. A "
        "verdict is about this experiment alone, that is its data, its networks and its schedule.",
        prose=True,
    )

# %%
page.bullets(
    "Before you quote these numbers:",
    caveats.caveats(run, load_params(Path(params)), known_files),
)
published_tables = {
    network: tables.published_beside(run, network, figures_of_others) for network in run.networks
}
for network in page.networks(run.networks):
    page.cards(summary.cards(run, network))
    page.text(summary.conclusion(run, network))
    page.figure(
        f"headline-{network}",
        accuracy.headline(run, network, figures_of_others),
        "Test top-1 of the epoch that was best on the validation images. Bars are means over the "
        "seeds, bands their intervals: bootstraps over seeds and test images, or Wilson's over the "
        "test images alone where there is one seed. Rows share their test images, so that bands "
        "which overlap may still differ: see the ablation. Published figures, where there are any, "
        "have an axis of their own.",
        alt="Dot plot of test top-1 of every row: mean, interval and one dot for each seed",
        data=[
            f"tables/measured-{network}.csv",
            *([f"tables/published-{network}.csv"] if published_tables[network] else []),
        ],
    )

# %% [markdown]
# ## Measured and published
# The best epoch is chosen on validation images held out from training, and the test images have no
# say in it. The top-1 of the last epoch stands beside it. ± is the standard deviation over the
# seeds. The interval of a mean is a bootstrap over seeds and test images, with the confidence of
# the parameters; that of one seed is Wilson's, over the test images alone.

# %%
for network in page.networks(run.networks):
    page.table(
        f"measured-{network}",
        tables.measured(run, network),
        "Test top-1 of each row: means over the seeds, and the interval of the mean.",
    )
    beside = published_tables[network]
    if beside:
        page.table(f"published-{network}", beside, summary.beside_published(run, network))
    else:
        page.text("reports/published.csv has no figure for this data set and network.")
    page.table(
        f"runs-{network}",
        tables.runs(run, network),
        "Wilson's interval is over the test images; seed variance is not included.",
        folded="Every run",
    )

# %% [markdown]
# ## Ablation
# Each row against a row that differs from it in one thing, and the complete method against binary
# alone: the difference in test top-1, in points, paired by seed and by test image. Students
# differ in nothing but their losses and their teacher. Intervals and p-values of several seeds are
# bootstraps over seeds and test images; those of one seed are of the test images alone
# (exact McNemar test). The comparisons of a network are one family, corrected for their number by
# Holm's procedure; the words follow the corrected interval. With one or two seeds the intervals
# barely reflect how trainings vary, and they are too narrow. With three they are too narrow if
# top-1 spreads between seeds by much more than the test images leave uncertain;
# [their coverage](../../docs/experiments.md#how-the-statistics-were-checked) was measured.

# %%
for network in page.networks(run.networks):
    ablation = tables.ablation(run, network)
    if len(ablation.shown):
        page.table(f"ablation-{network}", ablation, "What each part adds, in points of test top-1.")
    page.text(summary.not_compared(run, network))

# %% [markdown]
# ## Training

# %%
for network in page.networks(run.networks):
    page.text(summary.steps(run, network))
    page.text(summary.loss_scale(run))
    page.figure(
        f"training-{network}",
        accuracy.training_curves(run, network),
        "Training curves: the lines are means over the seeds, the bands reach from the least to "
        "the greatest seed. Fine-tuning counts its epochs on from the training it continues. Loss "
        "terms are shown without their weights.",
        alt="Line plots of accuracy, loss terms and sign changes over the epochs, a line per row",
        data=[f"{results}/curves/*.csv"],
    )

# %% [markdown]
# ## Weight distributions
# Latent weights of every layer under the kurtosis loss, in standard deviations of the layer. A
# Gaussian has kurtosis 3, a uniform distribution 1.8 and two equal points 1. A kurtosis of 1.8 is
# therefore no proof of two modes: a symmetric distribution with a single mode can reach it, but
# none can lie below it.

# %%
for network in page.networks(run.networks):
    page.figure(
        f"histograms-{network}",
        weights.weight_histograms(run, network),
        "Histograms at the best epoch of the first seed: the fine-tuned network without and with "
        "the kurtosis loss, and a student without and one with it. Dotted: a uniform distribution; "
        "upright lines: two points, each of the same variance. Layers with fewer weights have "
        "fewer bins. Weights beyond 2.9 standard deviations (2.7 in layers of fewer than 10,000 "
        "weights) are counted but not drawn.",
        alt="Histograms of standardized weights, one panel per layer",
        data=[page.numbers(f"histograms-{network}", weights.histogram_numbers(run, network))],
    )

# %% [markdown]
# ## Kurtosis

# %%
for network in page.networks(run.networks):
    page.table(
        f"kurtosis-{network}",
        tables.kurtosis(run, network),
        "Kurtosis before and after training: means over layers and seeds, and the least and the "
        "greatest layer of any seed. The distance to the target is the mean of each layer's. A "
        "dash stands for a row without a target.",
    )
    page.figure(
        f"kurtosis-{network}",
        weights.kurtosis_by_layer(run, network),
        "Kurtosis of each layer at the best epoch: marks are means over the seeds, thin lines "
        "reach from the least to the greatest seed. Hollow marks: 32-bit rows.",
        alt="Dot plot of the kurtosis of every layer, one mark per row, with targets",
        data=[f"tables/layers-{network}.csv"],
    )
    page.figure(
        f"kurtosis-epochs-{network}",
        weights.kurtosis_over_epochs(run, network),
        "Kurtosis of each layer over the epochs of the first seed; epoch 0 is before training. "
        "The colour tells the place of the layer in the network.",
        alt="Line plots of kurtosis over the epochs, one panel per row and one line per layer",
        data=[f"{results}/kurtosis/*.csv"],
    )

# %% [markdown]
# ## Feature maps
# What a layer (the second under the kurtosis loss) sees of one test image, at 32 and at 1 bit,
# without and with the kurtosis loss. The paper shows such a figure. A 1-bit map is blank if the
# rarer sign has less than 1 % of its pixels. One image of one layer illustrates and proves nothing,
# so the table counts blank maps over all test images and layers.

# %%
for network in page.networks(run.networks):
    blank = tables.blank_maps(run, network)
    if blank:
        page.table(
            f"blank-maps-{network}",
            blank,
            "Blank 1-bit maps over all test images and binary layers: each map is one input "
            "channel of one layer for one image.",
        )
    page.figure(
        f"feature-maps-{network}",
        feature_maps.feature_maps(run, network),
        "Feature maps of the first seed; each panel names its row. At 32 bit, grey is zero, and "
        "what lies beyond the 99 % quantile of the magnitudes is drawn black or white. At 1 bit, "
        "black is -1 and white +1; blank maps have a red frame.",
        alt="Mosaics of feature maps of one test image, at 32 and 1 bit",
        data=[f"{results}/feature_maps/*.safetensors"],
    )

# %% [markdown]
# ## Confusion

# %%
for network in page.networks(run.networks):
    row = summary.last_row(run, network)
    page.text(summary.confusions(run, network, row, classes))
    page.figure(
        f"confusion-{network}",
        accuracy.confusion(run, network, row, classes),
        "Test images by true and predicted class, means over the seeds. The colour scale is linear "
        "and shows errors only; the diagonal counts what was classified correctly.",
        alt="Confusion matrix of the last row of the table, and its difference to binary alone",
        data=[
            page.numbers(
                f"confusion-{network}", accuracy.confusion_numbers(run, network, row, classes)
            )
        ],
    )

# %% [markdown]
# ## Layers
# Near zero: weights within 10 % of zero, relative to the layer's mean magnitude. Binarization
# error: the share of the weights' energy that one bit per weight and one scale per filter lose; 0
# for two equal points, 0.25 for a uniform distribution, 0.36 for a Gaussian. Relative teacher
# distance: mean squared difference of the sorted weights of student and teacher, divided by the
# variance of the teacher's weights. The complete student is compared with the teacher that was
# tuned with the kurtosis loss, every other student with the fine-tuned network, and a fine-tuned
# network with the one it continues; distances to different networks do not rank rows.
#
# A layer has two modes if the dip test rejects one (p < 0.01) and the valley between two peaks
# of the smoothed density is at least 10 % deep.

# %%
for network in page.networks(run.networks):
    page.figure(
        f"layers-{network}",
        weights.layer_statistics(run, network),
        "Statistics of each layer at the best epoch: marks are means over the seeds, thin lines "
        "reach from the least to the greatest seed. The axes do not start at zero.",
        alt="Dot plots of three statistics of every layer, one mark per row",
        data=[f"tables/layers-{network}.csv"],
    )
    page.table(
        f"layers-{network}",
        tables.layers(run, network),
        "Means over the seeds. The CSV file has every row and statistic.",
        folded="Layer by layer",
    )
    page.text(summary.two_modes(run, network))
    page.table(
        f"modes-{network}",
        tables.modes(run, network),
        "Means over the seeds. The CSV file has every row. Depths of layers of different size do "
        "not compare, as the density of a small layer is smoothed more.",
        folded="Modes layer by layer",
    )

# %% [markdown]
# ## Cost
# Counted for one image. Size: one bit for each binary weight, 32 for everything else. Operations
# are multiply-accumulates; those between one-bit weights and one-bit activations are binary, and 64
# of them count as one real operation [field: Bi-Real Net].
#
# Measured: bytes of the two files of an exported network, weights and graph, and time of a batch
# from pixels to logits, as medians (least to greatest) over the rounds of one run in which the
# networks took turns. The full-precision network has the blocks and the nonlinearity of the binary
# one.
#
# Time and hardware of the trainings differ from run to run, and so have
# [a page of their own](training-cost.html).

# %%
for network in page.networks(run.networks):
    page.table(f"cost-{network}", tables.cost(run, network), "Counted for one image.")
    measured_cost = speed.measured_cost(run, network, measured)
    if measured_cost:
        caption = (
            f"Measured. {speed.measured_on(measured)} A dash stands for what torch has no file of."
        )
        page.table(f"speed-{network}", measured_cost, caption)
    else:
        page.text(speed.NOT_MEASURED)

# %% [markdown]
# ## What was run

# %%
page.table("data", context.data(run, known_files), "The images, as the stage prepare counted them.")
page.table("checksums", context.checksums(run), "SHA-256.", folded="Checksums of the data")
page.table(
    "environment",
    context.environment(run),
    f"Training and evaluation. Code revision and time of each run are in {results}/provenance.",
)
page.table("parameters", context.parameters(run), "Parameters, as the runs that use them had them.")

# %% [markdown]
# ## Fidelity ledger
# For each choice: what the paper says as far as it could be read (its abstract and one figure),
# what the authors' released code does, what the codes it builds on do, what is done here and why.
# [The method](../../docs/method.md) has the formulas.

# %%
page.table(
    "fidelity",
    context.fidelity(run, read_lines(Path(ledger), Choice)),
    "[inferred] marks what none of the three settles; an empty cell is not confirmed.",
    prose=True,
    folded="Every choice",
)

# %% [markdown]
# ## Files

# %%
page.files()
