"""The options of all objectives under one name."""

from embedkit.recipe.objectives.auc import *  # noqa: F403
from embedkit.recipe.objectives.base import *  # noqa: F403
from embedkit.recipe.objectives.candidates import *  # noqa: F403
from embedkit.recipe.objectives.contrastive import *  # noqa: F403
from embedkit.recipe.objectives.dclr import *  # noqa: F403
from embedkit.recipe.objectives.debiased import *  # noqa: F403
from embedkit.recipe.objectives.decorrelation import *  # noqa: F403
from embedkit.recipe.objectives.decoupled import *  # noqa: F403
from embedkit.recipe.objectives.distillation import *  # noqa: F403
from embedkit.recipe.objectives.hinge import *  # noqa: F403
from embedkit.recipe.objectives.macl import *  # noqa: F403
from embedkit.recipe.objectives.mixing import *  # noqa: F403
from embedkit.recipe.objectives.multi_view import *  # noqa: F403
from embedkit.recipe.objectives.penalty import *  # noqa: F403
from embedkit.recipe.objectives.queue import *  # noqa: F403
from embedkit.recipe.objectives.scored import *  # noqa: F403
from embedkit.recipe.objectives.shifting import *  # noqa: F403
from embedkit.recipe.objectives.sogclr import *  # noqa: F403
from embedkit.recipe.objectives.spcl import *  # noqa: F403
from embedkit.recipe.objectives.spectrum import *  # noqa: F403
from embedkit.recipe.objectives.spread import *  # noqa: F403
from embedkit.recipe.objectives.st import *  # noqa: F403
from embedkit.recipe.objectives.supcon import *  # noqa: F403
from embedkit.recipe.objectives.uniformity import *  # noqa: F403
from embedkit.recipe.objectives.wrappers import *  # noqa: F403
