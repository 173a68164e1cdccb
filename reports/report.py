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
out = "reports/digits"

# %%
from pathlib import Path

from pipeline.params import load_params
from pipeline.reporting import caveats, context, summary, tables
from pipeline.reporting.figures import accuracy, feature_maps, style, weights
from pipeline.reporting.page import Page
from pipeline.reporting.results import load_results
from pipeline.reporting.sources import Choice, FileNote, PublishedFigure, read_lines

run = load_results(Path(results))
figures_of_others = read_lines(Path(published), PublishedFigure)
known_files = read_lines(Path(notes), FileNote)
page = Page(Path(out), debug=bool(caveats.debugged(run)))
style.use_style()

# %%
page.text(f"# BD-BNN on {context.data_name(run, known_files)}")
page.text(context.data_size(run))
page.html(caveats.debug_banner(run))
page.bullets("Mind, before quoting:", caveats.caveats(run, load_params(Path(params)), known_files))
for network in page.networks(run.networks):
    page.html(summary.cards(run, network))
    page.text(summary.conclusion(run, network))
    page.figure(
        f"headline-{network}",
        accuracy.headline(run, network, figures_of_others),
        "Test top-1 of the epoch that was best on the validation images. "
        "Beside each row: mean ± standard deviation over the seeds. "
        "Grey circles, where there are any: published figures.",
    )

# %% [markdown]
# ## Measured and published
# The best epoch is chosen on validation images held out from training; the test images are looked
# at once, at the end. ± is the standard deviation over the seeds. The 95 % interval is Student's t
# interval of the mean over the seeds.

# %%
for network in page.networks(run.networks):
    page.table(f"measured-{network}", tables.measured(run, network), "Measured here.")
    page.text(context.data_note(run, known_files))
    beside = tables.published_beside(run, network, figures_of_others)
    if beside:
        page.table(
            f"published-{network}",
            beside,
            "Published for this data set and network. Ours: complete against 1 bit, full precision "
            "against 32.",
        )
    else:
        page.text("No published figure exists for this data set and network.")
    page.table(
        f"runs-{network}",
        tables.runs(run, network),
        "Every run. The interval resamples the test images; it knows nothing of other seeds.",
    )

# %% [markdown]
# ## Ablation
# Each row against the row it adds one thing to: difference in test top-1, in points, paired by
# seed. A difference stands out from the seed spread if its 95 % interval (Student's t, over the
# paired differences) excludes zero; the intervals are not corrected for being several. With two
# seeds the interval reaches 9 standard deviations to either side, with five 1.2: few seeds tell
# large differences only.

# %%
for network in page.networks(run.networks):
    page.table(f"ablation-{network}", tables.ablation(run, network))

# %% [markdown]
# ## Training

# %%
for network in page.networks(run.networks):
    page.text(summary.steps(run, network))
    page.figure(
        f"training-{network}",
        accuracy.training_curves(run, network),
        "Training curves: thick the mean over the seeds, thin each seed; dashed the 32-bit rows. "
        "Loss terms are shown without their weights. Accuracy is stretched towards 100 %.",
    )

# %% [markdown]
# ## Weight distributions
# Latent weights of every layer under the kurtosis loss, in standard deviations of the layer. A
# Gaussian has kurtosis 3, a uniform distribution 1.8, two equal points 1: the lower the kurtosis,
# the more the weights sit in two modes. The outer bins hold what lies beyond them.

# %%
for network in page.networks(run.networks):
    page.figure(
        f"histograms-{network}",
        weights.weight_histograms(run, network),
        "Histograms of teacher, kurtosis-tuned teacher and student, first seed, best epoch. "
        "The numbers are the kurtosis of the layer, in the colour of the row.",
    )

# %% [markdown]
# ## Kurtosis

# %%
for network in page.networks(run.networks):
    page.text(summary.kurtosis_distances(run, network))
    page.figure(
        f"kurtosis-{network}",
        weights.kurtosis_by_layer(run, network),
        "Kurtosis of each layer at the best epoch, mean over the seeds; black bars: targets. "
        "Open circles: 32-bit rows.",
    )
    page.figure(
        f"kurtosis-epochs-{network}",
        weights.kurtosis_over_epochs(run, network),
        "Kurtosis of each layer over the epochs, first seed; epoch 0 is before training. "
        "Dark to bright: first to last layer. Dashed: target.",
    )

# %% [markdown]
# ## Feature maps
# The paper's figure: what a layer (here the second under the kurtosis loss) sees of one test image,
# at 32 and at 1 bit, without and with the kurtosis loss. A blank 1-bit map is all of one sign and
# carries nothing.

# %%
for network in page.networks(run.networks):
    page.text(summary.blank_counts(run, network))
    page.figure(
        f"feature-maps-{network}",
        feature_maps.feature_maps(run, network),
        "Feature maps, first seed. 32 bit: black negative, grey zero, white positive. "
        "1 bit: black -1, white +1; blank maps have a red frame.",
    )

# %% [markdown]
# ## Confusion

# %%
for network in page.networks(run.networks):
    row = summary.last_row(run, network)
    page.text(summary.confusions(run, network, row))
    page.figure(
        f"confusion-{network}",
        accuracy.confusion(run, network, row),
        "Test images by true and predicted class, summed over the seeds.",
    )

# %% [markdown]
# ## Layers
# Near zero: weights within 10 % of zero, relative to the layer's mean magnitude. Binarization
# error: the share of the weights' energy that one bit per weight and one scale per filter lose; 0
# for two equal points, 0.25 for a uniform distribution, 0.36 for a Gaussian. Teacher distance: mean
# squared difference of the sorted weights of student and teacher, each row with its own teacher.

# %%
for network in page.networks(run.networks):
    page.figure(
        f"layers-{network}",
        weights.layer_statistics(run, network),
        "Statistics of each layer at the best epoch, mean over the seeds.",
    )
    page.table(
        f"layers-{network}",
        tables.layers(run, network),
        "Means over the seeds. The CSV has every row.",
    )

# %% [markdown]
# ## Cost
# For one image. Size: one bit for each binary weight, 32 for everything else. Operations are
# multiply-accumulates; those between one-bit weights and one-bit activations are binary, and 64 of
# them count as one real operation [field: Bi-Real Net].

# %%
for network in page.networks(run.networks):
    page.table(f"cost-{network}", tables.cost(run, network))

# %% [markdown]
# ## What was run

# %%
page.table("data", context.data(run))
page.table("environment", context.environment(run))
page.table("parameters", context.parameters(run))

# %% [markdown]
# ## Fidelity ledger
# For each choice: what the paper says as far as it could be read (its abstract and one figure),
# what the authors' released code does, what the codes it builds on do, what is done here and why.
# [inferred] marks what none of the three settles.

# %%
page.table("fidelity", context.fidelity(run, read_lines(Path(ledger), Choice)), prose=True)
