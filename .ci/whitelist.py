# ruff: noqa
"""Names that the package defines and others read: made by hand, for vulture alone.

A name belongs here if Lightning, PyTorch, scikit-learn, Python or a user calls it, or if it is a field or column that
is written to a file or read by its name. A function that nothing calls does not belong here: it goes.
"""

# Python: modules and pickles
_.__getattr__
_.__dir__
_.__class__

# Columns of predictions.json and lines of openings.jsonl
_.opened_before_plan_time
_.plan_models
_.choice_time
_.choice_ranked
_.opened_before_choice
_.opened_before_plan
_.beside_plan
_.under_other_names

# Lightning and PyTorch
_.training_step
_.validation_step
_.on_test_epoch_start
_.on_test_epoch_end
_.dataloader_idx
_.storage_options
_.test_step
_.predict_step
_.train_dataloader
_.val_dataloader
_.test_dataloader
_.predict_dataloader
_.configure_optimizers
_.configure_gradient_clipping
_.on_after_batch_transfer
_.teardown
_.on_before_optimizer_step
_.on_predict_batch_end
_.on_predict_end
_.on_save_checkpoint
_.on_train_batch_end
_.on_train_batch_start
_.on_train_end
_.on_train_epoch_end
_.on_train_epoch_start
_.on_train_start
_.on_validation_epoch_end
_.on_validation_epoch_start
_.on_validation_start
_.log_hyperparams
_.set_epoch
_.full_state_update

# scikit-learn
_.classes_
_.n_neighbors

# Held to its truth by a test: the anatomy's own doubt of the muscle's edge
_.pectoral_confidence

# The public surface: Python, exit codes
_.PROBLEMS
_.for_data

# Named in a string: pydicom's plugin loads it
_.decode_frame

# Columns and keys of files, written by their fields' names
_.imager_pixel_spacing_mm  # images found by index
_.pixel_spacing_mm
_.spacing_source
_.spacing_row_mm  # crops.csv
_.spacing_column_mm
_.fit_id  # predictions.json of a signature
_.fusion_weights
_.dropped
_.last_resort
_.delong_p  # choice.json
_.bootstrap_p

_.package_version  # environment.json, identity, metadata of pre-trained weights
_.learning_version  # identity
_.in_chans
_.recipe_digest
_.updated  # state.json
_.python  # environment.json
_.packages
_.host
_.runs_before  # openings in predictions.json
_.by_this_run
_.plan_what
_.plan_time
_.absent_regions  # predictions.json
_.val_auc_sd  # choice.json
_.against_best
_.best_in_share_of_draws
_.is_alike
_.optimism_sd
_.schema_version
_.chosen_runs
_.configurations_planned

# Read by a page's template, or by jinja
_.aucs
_.resume
_.globals

# Fields of a statistic's result that R's cases hold beside those that pages print
_.null_loglik
_.p_greater
_.up_events
_.down_events
_.up_nonevents
_.down_nonevents
_.statistic_corrected

# Python: handlers of the XML reader
_.StartDoctypeDeclHandler
_.EntityDeclHandler
_.StartElementHandler
_.EndElementHandler

# io: what a raw file must answer
_.seekable
_.readinto

# choice.json and its page: limits of a marginal mean
_.difference_low
_.difference_high

# read by wandb from its settings
_.init_timeout
_.chi_squared
_.classifiers
