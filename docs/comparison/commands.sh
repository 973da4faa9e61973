# The commands behind docs/comparison.md, some days on two cores. FOLDER stands for the unpacked data sets.
# Bundles hal-c 1.0.0 and 2.0.0: git checkout 66f8043 -- models/hal-c/1; git checkout 6375b92 -- models/hal-c/2

# All images
hal data prepare --preset pbc=FOLDER --preset matek-marrow=FOLDER --like models/hal-c/1/images.csv --out datasets/open.csv
hal train hal-t-cpu --data datasets/open.csv --run runs/hal-t
hal train hal-r-cpu --data datasets/open.csv --run runs/hal-r --set training.epochs=3
hal compare runs/hal-t runs/hal-r models/hal-c/1 --data datasets/open.csv --out docs/comparison

# One choice at a time. study-train.csv has every twentieth validation image of study.csv, so that validating is quick.
hal data prepare --preset pbc=FOLDER --preset matek-marrow=FOLDER --like models/hal-c/2/images.csv --out datasets/untested.csv
hal data split datasets/untested.csv --afresh --by image --validation-share 0.6 --out datasets/study.csv
awk -F, 'NR==1 || /,train,/ || (/,val,/ && ++n%20==0)' datasets/study.csv > datasets/study-train.csv
T="hal-t-cpu --data datasets/study-train.csv --set fine_tuning.frozen_blocks=4 --set top_layer.feature_views=2"
C="hal-c3003-cpu --data datasets/study-train.csv --set encoder.frozen_blocks=4 --set classifier.feature_views=2"
hal train $T --run runs/study/t-shuffled-2022
hal train $T --run runs/study/t-shuffled-1 --set seed=1
hal train $T --run runs/study/t-balanced-2022 --set fine_tuning.classes_per_batch=8
hal train $C --run runs/study/c-balanced-2022 --set encoder.epochs=3
hal train $C --run runs/study/c-balanced-1 --set encoder.epochs=3 --set seed=1
hal train $C --run runs/study/c-shuffled-2022 --set encoder.epochs=3 --set encoder.classes_per_batch=null
hal train $C --run runs/study/c-batch64-2022 --set encoder.epochs=3 --set encoder.batch_size=64 --set encoder.micro_batch=16 --set encoder.learning_rate=2e-4
hal train $C --run runs/study/c-tau005-2022 --set encoder.epochs=3 --set temperature=0.05
hal train $C --run runs/study/c-tau02-2022 --set encoder.epochs=3 --set temperature=0.2
hal compare runs/study/t-* runs/study/c-* --data datasets/study.csv --out docs/comparison/study

# More views
hal train $T --run runs/study/t-twelve --set fine_tuning.epochs=12
hal train $C --run runs/study/c-six --set encoder.epochs=6
hal train $C --run runs/study/c-twelve --set encoder.epochs=12

# Training that fails
hal train hal-c-two-steps --data datasets/study-train.csv --run runs/study/c-two-steps --set precision=mixed_bfloat16 --set encoder.epochs=4 --set encoder.image_side=128 --set classifier.feature_views=2
hal train hal-r-live-bn --data datasets/study-train.csv --run runs/study/r-live --set precision=mixed_bfloat16 --set training.epochs=4
hal train hal-r --data datasets/study-train.csv --run runs/study/r --set precision=mixed_bfloat16 --set training.epochs=20 --set training.image_side=96
hal compare runs/study/t-twelve runs/study/c-six runs/study/c-twelve runs/study/r-live --data datasets/study.csv --out docs/comparison/longer

# All open images: the composites of docs/composites.md
hal train hal-c3003-open --data datasets/twenty/manifest.csv --run runs/twenty
hal train hal-t-open --data datasets/twenty/manifest.csv --run runs/hal-t
# test.csv has the manifest's test rows, elsewhere.csv those of docs/composites.md's raabin.csv, aml-lmu.csv and
# chula.csv, all of them as split val
hal compare runs/hal-t models/hal-c/3 --data datasets/twenty/test.csv --out reports/open
hal compare runs/hal-t models/hal-c/3 --data datasets/elsewhere.csv --out reports/elsewhere

# Photometric styles: twelfth.csv has every twelfth training row of the manifest and every twentieth validation row
W="hal-t-open --data datasets/twenty/twelfth.csv --set top_layer.epochs=10 --set fine_tuning.epochs=1 --set fine_tuning_further.epochs=2"
hal train $W --run runs/styles
hal train $W --run runs/no-styles --set top_layer.augmentation.styles=false --set fine_tuning_small.augmentation.styles=false --set fine_tuning.augmentation.styles=false --set fine_tuning_further.augmentation.styles=false
hal compare runs/styles runs/no-styles --data datasets/elsewhere.csv --out reports/styles

# Telling unfamiliar images
E="--elsewhere datasets/raabin.csv --elsewhere datasets/aml-lmu.csv --elsewhere datasets/chula.csv"
hal bench novelty models/hal-c/3 --data datasets/twenty/manifest.csv $E
hal bench novelty runs/hal-t --data datasets/twenty/manifest.csv $E
