# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
results = "results/study"
variants = "results/study-variants"
notes = "reports/notes.csv"
out = "reports/study-variants"
redraw = "dvc repro tables/study-variants/dvc.yaml:report"

# %%
from pathlib import Path

from pipeline.reporting import caveats, choices, context, effect_tables, effects
from pipeline.reporting.figures import effects as figures
from pipeline.reporting.figures import style
from pipeline.reporting.page import Page
from pipeline.reporting.sources import FileNote, read_lines
from pipeline.reporting.variants import load_study

study = load_study(Path(results), Path(variants))
known_files = read_lines(Path(notes), FileNote)
asked = {question.name: question for question in study.levels}
every = [study.table, *study.variants.values()]
page = Page(Path(out), redraw, debug=any(caveats.debugged(each) for each in every))
style.use_style()

# %%
page.title(f"What the parameters of BD-BNN do on {context.data_name(study.table, known_files)}")
page.text(context.data_size(study.table))
for each in every:
    page.banner(caveats.debug_banner(each))
found = [*effects.answers(study), *choices.choices(study)]
undecided = [each for each in found if each.startswith(effects.UNDECIDED)]
page.bullets("What came out:", [each for each in found if each not in undecided])
page.bullets("What stays undecided:", undecided)
page.bullets("Before you quote these numbers:", effects.remarks(study, known_files))

# %% [markdown]
# ## How to read it
# Each variant sets one parameter and leaves the others at their defaults, and each is trained for
# the same seeds as the default it is compared with. Intervals of top-1 are bootstraps over seeds
# and test images. Differences to the default are paired by seed and by test image, and all
# differences of a parameter are one family, corrected for their number by Holm's procedure; the
# words follow the corrected interval. Values share their test images, so that intervals of top-1
# which overlap may still belong to values that differ.
#
# A parameter does matter for a row if a difference stands out. It does not if the intervals of all
# differences lie within half a point of 0. Else the question is undecided.

# %% [markdown]
# ## Kurtosis target
# The target takes part in both trainings: the teacher is fine-tuned with it, and the student is
# trained with that teacher and the same target. At "none" there is no kurtosis loss in either, so
# its teacher is the control that is fine-tuned with the cross-entropy alone, and its student has
# cross-entropy, distillation and WDM. At "student alone" that teacher's student has the kurtosis
# loss with the default target. The depth of the valley and the share of layers with two modes are
# means over the layers. Their intervals are Student's over the seeds, cut to what is possible, and
# there is none where all seeds agree.

# %%
if "target" in asked:
    question = asked["target"]
    page.figure(
        "target",
        figures.target_effects(study, question),
        "Modes of the weights, and top-1, at each target. Lines join the values of the parameter.",
        alt="Four panels over the kurtosis target: valley depth, layers with two modes, top-1 of "
        "teacher and of student, each with intervals",
        data=["tables/modes-target.csv", "tables/top1-target.csv"],
    )
    page.table(
        "modes-target",
        effect_tables.modes_table(study, question),
        "Modes of the weights of teacher and student, means over layers and seeds with intervals.",
    )
    trend = effect_tables.trend_table(study, question)
    if len(trend.shown):
        page.table(
            "trend-target",
            trend,
            f"Depth of the valley: its change for a target that is {effects.TARGET_STEP} lower.",
        )
    page.table(
        "top1-target",
        effect_tables.top1_table(study, question),
        "Top-1 of teacher and student, and the differences to the default in points.",
    )

# %% [markdown]
# ## Weights of the losses
# Lambda weighs the kurtosis loss in both trainings, as the target does, and 0 is the same as "none"
# above. Beta weighs WDM, which the teacher has no part in: every student has the same teacher.

# %%
weights = [asked[name] for name in ("kurtosis-weight", "mimicking-weight") if name in asked]
if weights:
    page.figure(
        "weights",
        figures.top1_by_value(study, weights, together=False),
        "Top-1 at each weight of the kurtosis loss and of WDM. Lines join the weights above 0.",
        alt="Top-1 over lambda, of teacher and student, and over beta, of the student, with "
        "intervals",
        data=[f"tables/top1-{each.name}.csv" for each in weights],
    )
for question in weights:
    if question.name == "kurtosis-weight":
        page.table(
            f"modes-{question.name}",
            effect_tables.modes_table(study, question),
            f"Modes of the weights: {question.parameter}.",
        )
    page.table(
        f"top1-{question.name}",
        effect_tables.top1_table(study, question),
        f"Top-1, and the differences to the default in points: {question.parameter}.",
    )

# %% [markdown]
# ## Form of WDM and gradient of the sign
# The teacher is the same for each form and each gradient. The forms share the weight beta, which
# was released for the form "released"; its right size for the others is open.

# %%
kinds = [asked[name] for name in ("form", "sign-gradient") if name in asked]
if kinds:
    page.figure(
        "choices",
        figures.top1_by_value(study, kinds, together=True),
        "Top-1 with each form of WDM, and with each surrogate gradient of the sign.",
        alt="Dots with intervals: top-1 with each form of WDM and with each gradient of the sign",
        data=[f"tables/top1-{each.name}.csv" for each in kinds],
    )
for question in kinds:
    page.table(
        f"top1-{question.name}",
        effect_tables.top1_table(study, question),
        f"Top-1, and the differences to the default in points: {question.parameter}.",
    )

# %% [markdown]
# ## Form of the full-precision network
# The whole chain is trained anew: the full-precision teacher has the block or the nonlinearity, the
# fine-tuned teacher starts from it, and the student learns from that one. The student itself keeps
# its form. The form is chosen on the validation images, and test top-1, which has no part in the
# choice, stands beside it. Validation top-1 is that of the best epoch, which each training chooses
# on the same images. Its intervals are Student's over the seeds, and its differences are paired by
# seed. No interval of this section is corrected for the number of differences.

# %%
for name in ("block", "activation"):
    if name in asked:
        question = asked[name]
        page.table(
            f"validation-{name}",
            effect_tables.choice_table(study, question),
            f"Top-1 on validation, which decides, and on test: {question.parameter}.",
        )

# %% [markdown]
# ## Files

# %%
page.text(f"Code revision and time of each run are in {variants}/<variant>/provenance.")
page.files()
