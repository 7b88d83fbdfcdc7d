"""The pack's benchmarks in lm-eval's format: three with their data, five public ones on files that a recipe names."""

from __future__ import annotations

from pathlib import Path

from domadapt.components import Benchmark

FOLDER = Path(__file__).parent
BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("sec_continuation", "Which sentence goes on with a passage of a filing (4 choices)", FOLDER),
    Benchmark("sec_items", "Which item of a 10-K a passage is from (4 choices)", FOLDER),
    Benchmark("sec_tables", "Which number stands in a row and column of a statement (4 choices)", FOLDER),
    Benchmark("financial_phrasebank", "Sentiment of financial news; data_dir with Sentences_50Agree.txt", FOLDER),
    Benchmark("fiqa", "Sentiment towards a company; data_dir with task1_headline_ABSA_train.json", FOLDER),
    Benchmark("gold_headlines", "Headlines about gold; data_dir with gold-dataset-sinha-khandait.csv", FOLDER),
    Benchmark("convfinqa", "Conversations about a report; data_dir with dev.json", FOLDER),
    Benchmark("tatqa", "Questions on a table and its text; data_dir with tatqa_dataset_dev.json", FOLDER),
)
