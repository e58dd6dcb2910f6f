"""From a folder of documents to a tuned, measured model: `starting` calls the stages, each of which leaves a file.

`reading` cuts documents into passages, `asking` has questions for them, `parting` holds documents out for the test;
mining, training and the report are those of `embedkit mine` and `embedkit train`.
"""
