"""Search for the best LSTM, cross-validated, and leave it as one proven ONNX file.

python ray_jobs/tune_lstm.py                                            # the built-in sea temperatures
python ray_jobs/tune_lstm.py --data sales.parquet --target sales --lookback 96 --horizon 24
ray job submit --working-dir . -- python ray_jobs/tune_lstm.py --trials 200
"""

from ray_jobs.search import main

if __name__ == "__main__":
    main("lstm", description=__doc__)
